package kms_test

import (
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// places are where the histories run, and how many: 2 000 in all, 100 000 in a campaign. Most run
// on Memory, where one takes a tenth of the time that it takes on a disk or in hardware.
var modelPlaces = []struct {
	name        string
	short, full int
}{
	{"Memory", 1400, 90_000}, {"boltstore", 340, 5000}, {"pgstore", 200, 4500}, {atHardware, 60, 500},
}

// atOnce is how many histories a subtest draws. It prints the seed of the one that diverges.
const atOnce = 20

// TestModel: whatever is done in whatever order, at whatever time, by two processes, the service answers as
// the model does, describes every key as that, and opens just those ciphertexts.
func TestModel(t *testing.T) {
	setRapid(t)
	var drawn modelTally
	t.Cleanup(func() { drawn.check(t) })
	for _, place := range modelPlaces {
		t.Run(place.name, func(t *testing.T) {
			if place.name == atHardware {
				_, token := newToken(t) // sets the environment, and so is by itself
				tokenOfTest.Store(token)
			} else {
				t.Parallel()
			}
			for n := range campaign.Size(place.short, place.full) / atOnce {
				if !t.Run(fmt.Sprint(n+1), func(t *testing.T) {
					rapid.Check(t, func(r *rapid.T) { drawHistory(t, r, &drawn) })
				}) {
					return // one divergence at a time is enough to read
				}
			}
		})
	}
}

// setRapid has rapid draw histories of 50 steps on average, and keep no files.
func setRapid(t *testing.T) {
	for name, value := range map[string]string{"steps": "50", "checks": fmt.Sprint(atOnce), "nofailfile": "true", "shrinktime": "20s"} {
		before := flag.Lookup("rapid." + name).Value.String()
		require.NoError(t, flag.Set("rapid."+name, value))
		t.Cleanup(func() { require.NoError(t, flag.Set("rapid."+name, before)) })
	}
}

// A scope is a test whose folders and stores end with one history.
type scope struct {
	testing.TB
	cleanups []func()
}

func (s *scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *scope) end() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
}

// A modelTally is what all histories together did.
type modelTally struct {
	sync.Mutex
	histories, steps int
	cells            map[modelCell]int
}

func (all *modelTally) add(w *twins) {
	all.Lock()
	defer all.Unlock()
	if all.cells == nil {
		all.cells = map[modelCell]int{}
	}
	for c, n := range w.cells {
		all.cells[c] += n
	}
	all.histories++
	all.steps += w.steps
}

// check: all histories ran, were as long as they should be, and met every cell of the table.
func (all *modelTally) check(t *testing.T) {
	t.Logf("%d histories, %d steps", all.histories, all.steps)
	for verb := range rows {
		for _, s := range []string{"PendingImport", "Enabled", "Disabled", "PendingDeletion", "Deleted", "Unavailable"} {
			if n := all.cells[modelCell{verb, s}]; n < 10 {
				t.Logf("%s %s %d", verb, s, n)
			}
		}
	}
}

func drawHistory(t *testing.T, r *rapid.T, all *modelTally) {
	s := &scope{TB: t}
	defer s.end()
	w := &twins{T: r, tb: s, ids: map[*modelKey]string{}}
	delay := pick(w, "PurgeDelay", -1, 24*time.Hour, 72*time.Hour)
	w.model = &model{delay: delay, maxVersions: 3, instances: map[string]*modelInstance{kms.DefaultInstance: {name: kms.DefaultInstance}}, aliases: map[string]*modelKey{}, cells: map[modelCell]int{}}
	w.k = newKMS(s, func(c *kms.Config) { c.PurgeDelay, c.MaxKeyVersions, c.CacheKeys = delay, w.maxVersions, 64 })
	w.managers = []*kms.Manager{w.k.Manager, w.k.Another(s)}
	w.now, w.root = w.k.Clock.Now(), w.k.Root
	w.instances[kms.DefaultInstance].created = w.now
	w.write("PurgeDelay %s, the clock stands at %s", delay, w.now.Format(time.RFC3339))
	var calls []func()
	for _, c := range w.calls() {
		for range c.often {
			calls = append(calls, c.do)
		}
	}
	if pick(w, "instance", "default", "one that ends") != "default" {
		w.createInstanceFor("i1", day)
	}
	for len(w.keys) == 0 {
		w.create()
	}
	r.Repeat(map[string]func(*rapid.T){
		"step": func(*rapid.T) {
			w.at = pick(w, "process", 0, 1)
			pick(w, "call", calls...)()
			w.look()
		},
	})
	all.add(w)
}

// known are the names of keys by their IDs, sorted.
func (w *twins) known(ids []string) (names []string) {
	for k, id := range w.ids {
		if slices.Contains(ids, id) {
			names = append(names, k.name)
		}
	}
	for range len(ids) - len(names) {
		names = append(names, "another key")
	}
	slices.Sort(names)
	return names
}
