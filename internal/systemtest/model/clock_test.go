package model_test

import (
	"strings"
	"time"

	"github.com/keyhold/kms"
)

// An edge is an instant that something waits for.
type edge struct {
	name string
	date time.Time
}

// edges are what the clock may be set to.
func (w *twins) edges() []edge {
	var all []edge
	add := func(name string, date time.Time) {
		if !date.IsZero() {
			all = append(all, edge{name, date})
		}
	}
	waited := func(name string, seen time.Time) {
		if !seen.IsZero() {
			add(name, seen.Add(w.delay))
		}
	}
	for _, name := range w.instanceNames() {
		if i := w.instances[name]; i != nil && i.released.IsZero() && !i.expires.IsZero() {
			add("the expiry of "+name, i.expires)
			add("the end of the grace of "+name, w.ends(i))
			waited("the release of "+name, i.seen)
		}
	}
	for _, k := range w.keys {
		if k.purged {
			continue
		}
		add("the deletion of "+k.name, k.deleteAt)
		waited("the purge of "+k.name, k.seen)
		add("the retirement of versions of "+k.name, k.retireAt)
		waited("the end of versions of "+k.name, k.overSeen)
		add("the expiry of "+k.name, k.until)
		add("the end of the brown-out of "+k.name, k.dim)
		if k.days > 0 && len(k.material) > 0 {
			add("the rotation of "+k.name, k.material[len(k.material)-1].Add(time.Duration(k.days)*day))
		}
	}
	for _, t := range w.tokens {
		add("the end of "+t.name, t.ExpiresAt)
	}
	return all
}

// moveClock sets the clock: by some time, or to an edge, or a nanosecond beside it.
func (w *twins) moveClock() {
	moves := []edge{
		{"the next hour", w.now.Add(time.Hour)}, {"the next day", w.now.Add(day)}, {"the day before", w.now.Add(-day)},
		{"the 10th day", w.now.Add(10 * day)}, {"the hour before", w.now.Add(-time.Hour)},
	}
	if edges := w.edges(); len(edges) > 0 && pick(w, "move", "to an edge", "by") == "to an edge" {
		moves = edges
	}
	e := pick(w, "edge", moves...)
	beside := pick(w, "beside", 0, -1, 1)
	date := e.date.Add(time.Duration(beside))
	back := date.Before(w.now)
	if back {
		w.run()
	}
	w.now = date
	w.k.Clock.Set(date)
	w.steps++
	w.write("the clock is set to %s, %+dns: %s", e.name, beside, date.Format(time.RFC3339Nano))
	if back {
		w.run()
	}
}

// run has both processes look, as Run does every minute. A process that looked before its clock was
// set back knows that it was, and looks at everything. Without that, what was made for a time
// that others have looked through already may be seen up to a day later, which no model can foretell.
func (w *twins) run() {
	for w.at = range w.managers {
		w.doMaintain()
	}
}

func (w *twins) doMaintain() {
	var got kms.Report
	want := w.maintain()
	w.do("Maintain", done, func(m *kms.Manager) (err error) {
		got, err = m.Maintain(w.tb.Context())
		return err
	})
	for _, list := range []struct {
		name      string
		got, want []string
	}{
		{"Noted", w.known(got.Noted), want.noted}, {"Waiting", w.known(got.Waiting), want.waiting}, {"Purged", w.known(got.Purged), want.purged},
		{"Expired", w.known(got.Expired), want.expired}, {"Rotated", w.known(got.Rotated), want.rotated}, {"Retired", w.known(got.Retired), want.retired}, {"Tampered", got.Tampered, nil},
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
