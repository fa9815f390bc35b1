package model_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/keyhold/kms"
	"pgregory.net/rapid"
)

// A modelRef names a key, or none.
type modelRef struct {
	text  string // what the service is given
	shown string // what stands in the transcript
	key   *modelKey
}

// pick draws one of several things. What comes first is drawn more often, and is where rapid
// goes when it looks for a shorter history.
func pick[E any](w *twins, label string, from ...E) E {
	indexes := make([]int, len(from))
	for i := range indexes {
		indexes[i] = i
	}
	return from[rapid.SampledFrom(indexes).Draw(w.T, label)]
}

// ref draws a key, by its ID or by an alias, and sometimes one that there is not.
func (w *twins) ref() modelRef {
	k := pick(w, "key", w.keys...)
	switch pick(w, "by", "ID", "ID", "alias", "alias", "ID", "ID", "nothing") {
	case "alias":
		for alias, of := range w.sortedAliases() {
			if of == k {
				return modelRef{alias, alias, k}
			}
		}
	case "nothing":
		return modelRef{text: "alias/nothing", shown: "alias/nothing"}
	}
	return modelRef{w.ids[k], k.name, k}
}

// A modelCall is one that a history is made of, and how often it is drawn.
type modelCall struct {
	often int
	do    func()
}

// calls are what a history is made of.
func (w *twins) calls() []modelCall {
	return []modelCall{
		{4, w.create}, {6, w.moveClock}, {4, w.schedule}, {3, w.disable}, {3, w.doMaintain}, {3, w.encrypt}, {2, w.enable}, {2, w.cancel},
		{2, w.parameters}, {4, w.importMaterial}, {1, w.deleteMaterial}, {2, w.rotate}, {1, w.retire}, {1, w.cancelRetirement}, {1, w.rotationPolicy}, {1, w.reEncrypt},
		{2, w.dataKey}, {2, w.protect}, {2, w.addDependent}, {3, w.removeDependent}, {2, w.setDescription}, {1, w.brownout},
		{2, w.createAlias}, {2, w.updateAlias}, {1, w.deleteAlias}, {1, w.list}, {2, w.versions},
		{2, w.createInstance}, {1, w.renewInstance}, {1, w.releaseInstance}, {1, w.protectInstance},
		{1, w.serviceKey}, {2, w.serviceChange}, {1, w.reopen}, {1, w.rotateRoot},
	}
}

type askedKey = func(context.Context, string) (kms.Key, error)

// simple is change for a call that takes nothing but the key.
func (w *twins) simple(verb string, effect func(k *modelKey) string, of func(*kms.Manager) askedKey) {
	w.Helper()
	ref := w.ref()
	w.change(verb, ref, "", "", func() string { return effect(ref.key) }, func(m *kms.Manager, id string) (kms.Key, error) {
		return of(m)(w.tb.Context(), id)
	})
}

func (k *modelKey) disable() string { k.disabled = true; return done }
func (k *modelKey) enable() string  { k.disabled = false; return done }
func (k *modelKey) cancel() string  { k.deleteAt = time.Time{}; return done }
func (w *twins) rotateModel(k *modelKey) string {
	if k.live() == w.maxVersions {
		return "ErrLimit"
	}
	k.material = append(k.material, w.now)
	return done
}

func (w *twins) disable() {
	w.simple("DisableKey", (*modelKey).disable, func(m *kms.Manager) askedKey { return m.DisableKey })
}

func (w *twins) enable() {
	w.simple("EnableKey", (*modelKey).enable, func(m *kms.Manager) askedKey { return m.EnableKey })
}

func (w *twins) cancel() {
	w.simple("CancelKeyDeletion", (*modelKey).cancel, func(m *kms.Manager) askedKey { return m.CancelKeyDeletion })
}

func (w *twins) rotate() {
	w.simple("RotateKey", w.rotateModel, func(m *kms.Manager) askedKey { return m.RotateKey })
}

// retire retires versions of a key. Without Force it is asked for only where the table refuses it:
// what is known of the use of versions is not in the model.
func (w *twins) retire() {
	ref, before, days, force := w.ref(), pick(w, "before", 2, 3, 1), pick(w, "days", 7, 366, 6), pick(w, "force", true, true, false)
	opts := kms.RetireOptions{Before: before, Days: days, Force: force, Reason: "r"}
	args := fmt.Sprintf("below %d, in %d days, by force: %v", before, days, force)
	ask := func(m *kms.Manager, id string) (kms.Key, error) { return m.RetireKeyVersions(w.tb.Context(), id, opts) }
	want := "ErrWindow"
	if days != 6 {
		if !force && w.answers("RetireKeyVersions", ref.key, "") == done {
			w.rotate()
			return
		}
		want = w.retireModel(ref.key, before, days, force)
	}
	w.ask("RetireKeyVersions", ref, args, want, ask)
}

func (w *twins) retireModel(k *modelKey, before, days int, force bool) string {
	w.force = force
	defer func() { w.force = false }()
	return w.model.change("RetireKeyVersions", k, "", func() string {
		switch {
		case k.retiring != 0:
			return "ErrState"
		case before > len(k.material) || before <= max(k.retired, 1):
			return "ErrInvalid"
		}
		k.retiring, k.retireAt = before, w.now.Add(time.Duration(days)*day)
		return done
	})
}

func (w *twins) cancelRetirement() {
	ref := w.ref()
	w.change("CancelRetirement", ref, "", "", func() string {
		if k := ref.key; k.retiring == 0 || w.passed(k.retireAt) {
			return "ErrState"
		}
		ref.key.retiring, ref.key.retireAt, ref.key.overSeen = 0, time.Time{}, time.Time{}
		return done
	}, func(m *kms.Manager, id string) (kms.Key, error) { return m.CancelRetirement(w.tb.Context(), id) })
}

func (w *twins) create() {
	const most = 4
	if len(w.keys) >= most {
		w.moveClock()
		return
	}
	k := &modelKey{name: fmt.Sprintf("k%d", len(w.keys)+1), created: w.now}
	opts := &kms.CreateKeyOptions{Instance: pick(w, "instance", w.instanceNames()...)}
	kind := pick(w, "kind", "AES", "EXTERNAL AES", "HMAC", "EXTERNAL HMAC")
	if k.external = strings.HasPrefix(kind, "EXTERNAL"); k.external {
		opts.Origin = kms.OriginExternal
	}
	if k.mac = strings.HasSuffix(kind, "HMAC"); k.mac {
		opts.Spec = kms.SpecHMAC256
	}
	if !k.external {
		k.material = []time.Time{w.now}
	}
	want := "ErrNotFound"
	if k.home = w.instances[opts.Instance]; k.home != nil {
		want = map[string]string{"Active": done, "Expired": "ErrInstanceExpired", "Released": "ErrNotFound"}[w.life(k.home)]
	}
	var key kms.Key
	if w.do(fmt.Sprintf("CreateKey %s %s in %s", k.name, kind, opts.Instance), want, func(m *kms.Manager) (err error) {
		key, err = m.CreateKey(w.tb.Context(), opts)
		return err
	}) {
		w.keys, w.ids[k] = append(w.keys, k), key.ID
		w.compare(k, key)
	}
}

func (w *twins) schedule() { w.scheduleAs("", w.ref()) }

func (w *twins) scheduleAs(service string, ref modelRef) {
	days := pick(w, "days", 7, 366, 30, 6, 367)
	args := fmt.Sprintf("in %d days", days)
	schedule := func(m *kms.Manager, id string) (kms.Key, error) {
		if service != "" {
			return m.Service(service).ScheduleKeyDeletion(w.tb.Context(), days)
		}
		return m.ScheduleKeyDeletion(w.tb.Context(), id, days)
	}
	if days < 7 || days > 366 {
		w.ask("ScheduleKeyDeletion", ref, args, "ErrWindow", schedule)
		return
	}
	w.change("ScheduleKeyDeletion", ref, service, args, func() string {
		ref.key.deleteAt = w.now.Add(time.Duration(days) * 24 * time.Hour)
		return done
	}, schedule)
}

func (w *twins) rotationPolicy() {
	ref, days := w.ref(), pick(w, "days", 7, 365, 0, 6)
	args := fmt.Sprintf("every %d days", days)
	policy := func(m *kms.Manager, id string) (kms.Key, error) {
		return m.UpdateRotationPolicy(w.tb.Context(), id, days)
	}
	if days == 6 {
		w.ask("UpdateRotationPolicy", ref, args, "ErrInvalid", policy)
		return
	}
	w.change("UpdateRotationPolicy", ref, "", args, func() string { ref.key.days = days; return done }, policy)
}

func (w *twins) protect() {
	ref, on := w.ref(), pick(w, "on", true, false)
	w.change("SetDeletionProtection", ref, "", fmt.Sprint(on), func() string {
		ref.key.protected, ref.key.why = on, map[bool]string{true: "why"}[on]
		return done
	}, func(m *kms.Manager, id string) (kms.Key, error) {
		return m.SetDeletionProtection(w.tb.Context(), id, on, "why")
	})
}

func (w *twins) setDescription() {
	ref, text := w.ref(), pick(w, "text", "a", "b")
	w.change("SetDescription", ref, "", text, func() string { ref.key.label = text; return done },
		func(m *kms.Manager, id string) (kms.Key, error) { return m.SetDescription(w.tb.Context(), id, text) })
}

// brownout refuses all uses, or none: what is refused by chance cannot be foretold.
func (w *twins) brownout() {
	ref, d := w.ref(), pick(w, "for", time.Hour, 48*time.Hour, 0, -1)
	share, until := 1.0, w.now.Add(d)
	if d < 0 {
		share, until = 0, time.Time{}
	}
	args := fmt.Sprintf("%v for %s", share, d)
	set := func(m *kms.Manager, id string) (kms.Key, error) {
		return m.SetBrownout(w.tb.Context(), id, share, until)
	}
	if d == 0 {
		w.ask("SetBrownout", ref, args, "ErrInvalid", set)
		return
	}
	w.change("SetBrownout", ref, "", args, func() string { ref.key.dim = until; return done }, set)
}
