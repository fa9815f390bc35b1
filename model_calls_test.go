package kms_test

import (
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
	return rapid.SampledFrom(from).Draw(w.T, label)
}

// ref draws a key, by its ID or by an alias.
func (w *twins) ref() modelRef {
	if len(w.keys) == 0 {
		w.SkipNow()
	}
	k := pick(w, "key", w.keys...)
	if names := w.names(k); len(names) > 0 && pick(w, "by", "ID", "alias") == "alias" {
		return modelRef{names[0], names[0], k}
	}
	return modelRef{w.ids[k], k.name, k}
}

// calls are what a history is made of.
func (w *twins) calls() map[string]func() {
	return map[string]func(){
		"create": w.create, "encrypt": w.encrypt, "clock": w.moveClock, "maintain": w.doMaintain,
		"disable": func() {
			ref := w.ref()
			w.change("DisableKey", ref, "", "", func() string { ref.key.disabled = true; return done },
				func(m *kms.Manager, id string) (kms.Key, error) { return m.DisableKey(w.tb.Context(), id) })
		},
		"enable": func() {
			ref := w.ref()
			w.change("EnableKey", ref, "", "", func() string { ref.key.disabled = false; return done },
				func(m *kms.Manager, id string) (kms.Key, error) { return m.EnableKey(w.tb.Context(), id) })
		},
		"schedule": w.schedule,
		"cancel": func() {
			ref := w.ref()
			w.change("CancelKeyDeletion", ref, "", "", func() string { ref.key.deleteAt = time.Time{}; return done },
				func(m *kms.Manager, id string) (kms.Key, error) { return m.CancelKeyDeletion(w.tb.Context(), id) })
		},
	}
}

const mostKeys = 4

func (w *twins) create() {
	if len(w.keys) == mostKeys {
		w.SkipNow()
	}
	k := &modelKey{name: fmt.Sprintf("k%d", len(w.keys)+1), home: w.instances[kms.DefaultInstance], created: w.now, material: []time.Time{w.now}}
	var key kms.Key
	if w.do("CreateKey "+k.name, done, func(m *kms.Manager) (err error) {
		key, err = m.CreateKey(w.tb.Context(), nil)
		return err
	}) {
		w.keys, w.ids[k] = append(w.keys, k), key.ID
		w.compare(k, key)
	}
}

func (w *twins) encrypt() {
	ref := w.ref()
	c := sealed{name: fmt.Sprintf("c%d", len(w.ciphertexts)+1), of: ref.key}
	if w.do("Encrypt "+ref.shown+" to "+c.name, w.answers("Encrypt", ref.key, ""), func(m *kms.Manager) (err error) {
		c.bytes, err = m.Encrypt(w.tb.Context(), ref.text, []byte(modelPlaintext), nil)
		return err
	}) && len(w.ciphertexts) < 2*mostKeys {
		w.ciphertexts = append(w.ciphertexts, c)
	}
}

func (w *twins) schedule() {
	ref, days := w.ref(), pick(w, "days", 7, 366, 30, 6, 367)
	args := fmt.Sprintf("in %d days", days)
	schedule := func(m *kms.Manager, id string) (kms.Key, error) {
		return m.ScheduleKeyDeletion(w.tb.Context(), id, days)
	}
	if days < 7 || days > 366 {
		w.ask("ScheduleKeyDeletion", ref, args, "ErrWindow", schedule)
		return
	}
	w.change("ScheduleKeyDeletion", ref, "", args, func() string {
		ref.key.deleteAt = w.now.Add(time.Duration(days) * 24 * time.Hour)
		return done
	}, schedule)
}

// moveClock sets the clock: by some time, or to one of the dates that something waits for, or a
// nanosecond beside it.
func (w *twins) moveClock() {
	type edge struct {
		name string
		date time.Time
	}
	const day = 24 * time.Hour
	edges := []edge{{"the next hour", w.now.Add(time.Hour)}, {"the next day", w.now.Add(day)}, {"the day before", w.now.Add(-day)}, {"the 10th day", w.now.Add(10 * day)}}
	add := func(name string, date time.Time) {
		if !date.IsZero() {
			edges = append(edges, edge{name, date})
		}
	}
	for _, k := range w.keys {
		add("the deletion of "+k.name, k.deleteAt)
		if !k.seen.IsZero() && w.delay > 0 {
			add("the purge of "+k.name, k.seen.Add(w.delay))
		}
	}
	e := pick(w, "edge", edges...)
	beside := pick(w, "beside", 0, -1, 1)
	w.now = e.date.Add(time.Duration(beside))
	w.k.Clock.Set(w.now)
	w.steps++
	w.write("the clock is set to %s, %+dns: %s", e.name, beside, w.now.Format(time.RFC3339Nano))
}

func (w *twins) doMaintain() {
	var got kms.Report
	want := w.maintain()
	answer := done
	if want.limits > 0 {
		answer = "ErrLimit"
	}
	w.do("Maintain", answer, func(m *kms.Manager) (err error) {
		got, err = m.Maintain(w.tb.Context())
		return err
	})
	for _, list := range []struct {
		name      string
		got, want []string
	}{
		{"Noted", w.known(got.Noted), want.noted}, {"Waiting", w.known(got.Waiting), want.waiting}, {"Purged", w.known(got.Purged), want.purged},
		{"Expired", w.known(got.Expired), want.expired}, {"Rotated", w.known(got.Rotated), want.rotated},
		{"Instances.Noted", got.Instances.Noted, want.over}, {"Instances.Waiting", got.Instances.Waiting, want.holding},
		{"Instances.Released", got.Instances.Released, want.released},
	} {
		if a, b := strings.Join(list.got, " "), strings.Join(list.want, " "); a != b {
			w.diverges("Maintain reports %s: [%s], the model [%s]", list.name, a, b)
		}
		if len(list.want) > 0 {
			w.write("   %s: %s", list.name, strings.Join(list.want, " "))
		}
	}
}
