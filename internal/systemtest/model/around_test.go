package model_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/software"
)

// What there is around keys: dependents, aliases, instances, services, processes, the root.

func (w *twins) addDependent() {
	ref, name := w.ref(), pick(w, "name", "d1", "d2")
	w.change("AddDependent", ref, "", name, func() string {
		if !slices.Contains(ref.key.users, name) {
			ref.key.users = append(ref.key.users, name)
		}
		return done
	}, func(m *kms.Manager, id string) (kms.Key, error) {
		return m.AddDependent(w.tb.Context(), id, kms.Dependent{Name: name})
	})
}

func (w *twins) removeDependent() {
	ref, name := w.ref(), pick(w, "name", "d1", "d2")
	w.change("RemoveDependent", ref, "", name, func() string {
		ref.key.users = slices.DeleteFunc(slices.Clone(ref.key.users), func(d string) bool { return d == name })
		return done
	}, func(m *kms.Manager, id string) (kms.Key, error) {
		return m.RemoveDependent(w.tb.Context(), id, kms.Dependent{Name: name})
	})
}

// sortedAliases are all aliases that were ever given and not taken, with their keys.
func (w *twins) sortedAliases() iter.Seq2[string, *modelKey] {
	return func(yield func(string, *modelKey) bool) {
		for _, alias := range slices.Sorted(maps.Keys(w.aliases)) {
			if !yield(alias, w.aliases[alias]) {
				return
			}
		}
	}
}

func (w *twins) drawAlias() string { return pick(w, "alias", "alias/a", "alias/b", "alias/acs/s1") }

func (w *twins) createAlias() {
	w.point("CreateAlias", func(taken bool) bool { return !taken }, "ErrExists")
}
func (w *twins) updateAlias() {
	w.point("UpdateAlias", func(taken bool) bool { return taken }, "ErrNotFound")
}

func (w *twins) point(verb string, fits func(taken bool) bool, otherwise string) {
	alias, ref := w.drawAlias(), w.ref()
	want := w.answers(verb, ref.key, "")
	switch {
	case strings.HasPrefix(alias, "alias/acs"):
		want = "ErrInvalid"
	case want == done && !fits(w.named(alias) != nil):
		want = otherwise
	}
	if w.do(verb+" "+alias+" for "+ref.shown, want, func(m *kms.Manager) error {
		if verb == "CreateAlias" {
			return m.CreateAlias(w.tb.Context(), alias, ref.text)
		}
		return m.UpdateAlias(w.tb.Context(), alias, ref.text)
	}) {
		w.aliases[alias] = ref.key
	}
}

func (w *twins) deleteAlias() {
	alias, want := w.drawAlias(), done
	switch {
	case strings.HasPrefix(alias, "alias/acs"):
		want = "ErrInvalid"
	case w.named(alias) == nil:
		want = "ErrNotFound"
	}
	if w.do("DeleteAlias "+alias, want, func(m *kms.Manager) error { return m.DeleteAlias(w.tb.Context(), alias) }) {
		delete(w.aliases, alias)
	}
}

// list holds what is listed against the model.
func (w *twins) list() {
	var got, want []string
	w.do("Keys and Aliases", done, func(m *kms.Manager) error {
		for k, err := range m.Keys(w.tb.Context(), nil) {
			if err != nil {
				return err
			}
			got = append(got, strings.Join(w.known([]string{k.ID}), "")+" is "+k.State.String())
		}
		for a, err := range m.Aliases(w.tb.Context(), "") {
			if err != nil {
				return err
			}
			got = append(got, a.Name+" names "+strings.Join(w.known([]string{a.KeyID}), ""))
		}
		return nil
	})
	for _, k := range w.keys {
		if !w.gone(k) {
			want = append(want, k.name+" is "+w.state(k))
		}
	}
	for alias := range w.aliases {
		if k := w.named(alias); k != nil {
			want = append(want, alias+" names "+k.name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.diverges("the service lists %q, the model %q", got, want)
	}
}

// The one service that has a key here.
const modelService = "s1"

func (w *twins) serviceKey() {
	alias := "alias/acs/" + modelService
	k := w.named(alias)
	what := "Service.Key"
	if k == nil {
		k = &modelKey{
			name: fmt.Sprintf("k%d", len(w.keys)+1), home: w.instances[kms.DefaultInstance], service: modelService,
			label: "The key of the service s1.", created: w.now, material: []time.Time{w.now},
		}
		what += ", a new " + k.name
	}
	var key kms.Key
	w.do(what, done, func(m *kms.Manager) (err error) {
		key, err = m.Service(modelService).Key(w.tb.Context())
		return err
	})
	if w.aliases[alias] != k {
		w.keys, w.ids[k], w.aliases[alias] = append(w.keys, k), key.ID, k
	}
	w.compare(k, key)
}

func (w *twins) serviceChange() {
	alias := "alias/acs/" + modelService
	ref := modelRef{alias, "as " + modelService, w.named(alias)}
	change := func(verb string, effect func(*modelKey) string, ask func(*kms.Service) (kms.Key, error)) {
		w.change(verb, ref, modelService, "", func() string { return effect(ref.key) }, func(m *kms.Manager, _ string) (kms.Key, error) {
			return ask(m.Service(modelService))
		})
	}
	ctx := w.tb.Context()
	switch pick(w, "verb", "disable", "schedule", "enable", "cancel", "rotate") {
	case "disable":
		change("DisableKey", (*modelKey).disable, func(s *kms.Service) (kms.Key, error) { return s.DisableKey(ctx) })
	case "enable":
		change("EnableKey", (*modelKey).enable, func(s *kms.Service) (kms.Key, error) { return s.EnableKey(ctx) })
	case "cancel":
		change("CancelKeyDeletion", (*modelKey).cancel, func(s *kms.Service) (kms.Key, error) { return s.CancelKeyDeletion(ctx) })
	case "rotate":
		change("RotateKey", w.rotateModel, func(s *kms.Service) (kms.Key, error) { return s.RotateKey(ctx) })
	case "schedule":
		w.scheduleAs(modelService, ref)
	}
}

// reopen has one of the processes begin anew.
func (w *twins) reopen() {
	w.do("Open", done, func(m *kms.Manager) error {
		if err := m.Close(w.tb.Context()); err != nil {
			return err
		}
		return w.open(w.at)
	})
}

func (w *twins) open(i int) (err error) {
	w.managers[i], err = kms.Open(w.tb.Context(), w.k.ConfigWith(func(c *kms.Config) { c.Root = w.root }))
	return err
}

// rotateRoot rotates the root. From then on the old one opens nothing, and the other process is
// begun anew with the new one.
func (w *twins) rotateRoot() {
	old := w.root
	for _, i := range w.instances {
		if i.released.IsZero() {
			i.rooted = w.now
		}
	}
	var secret [32]byte
	rand.Read(secret[:])
	w.do("RotateRoot", done, func(m *kms.Manager) (err error) {
		next, err := software.NewRoot(secret[:])
		if err != nil {
			return err
		}
		if err := m.RotateRoot(w.tb.Context(), next); err != nil {
			return err
		}
		w.root = old
		if err := w.open(1 - w.at); !errors.Is(err, kms.ErrRoot) {
			return fmt.Errorf("the old root opens the store: %w", err)
		}
		w.root = next
		return w.open(1 - w.at)
	})
}
