package model_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/kit"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { os.Exit(kit.Main(m)) }

// modelPlaces are where the histories run, and how many: 2 000 in all, 100 000 in a campaign.
// Most run on Memory, for one in a database takes ten times as long.
var modelPlaces = []struct {
	name        string
	short, full int
}{
	{kit.AtHardware, 60, 500}, {"Memory", 1400, 90_000}, {"boltstore", 340, 5000}, {"pgstore", 200, 4500},
}

// TestModel: whatever is done, in whatever order, at whatever time, by two processes, the service
// answers as the model does, describes every key as that, and opens what that says. A divergence is
// printed as a transcript, after rapid made it as short as it could.
func TestModel(t *testing.T) {
	setRapid(t, 20, "20s")
	all := modelTally{cells: map[modelCell]int{}}
	t.Cleanup(func() { all.check(t) })
	for _, place := range modelPlaces {
		t.Run(place.name, func(t *testing.T) {
			if place.name == kit.AtHardware {
				_, token := kit.OpenToken(t) // sets the environment, and so is by itself
				kit.UseToken(token)
			} else {
				t.Parallel()
			}
			histories := campaign.Size(place.short, place.full) / 20 * 20
			all.expect(histories)
			for n := range histories / 20 {
				if !t.Run(fmt.Sprint(n+1), func(t *testing.T) {
					rapid.Check(t, func(r *rapid.T) { all.add(drawHistory(t, r, modelBug{})) })
				}) {
					return // one divergence is enough to read
				}
			}
		})
	}
}

// TestModelBriefly is a first look: some histories on Memory, in seconds. TestModel has them all.
func TestModelBriefly(t *testing.T) {
	setRapid(t, 100, "5s")
	rapid.Check(t, func(r *rapid.T) { drawHistory(t, r, modelBug{}) })
}

// setRapid has rapid draw histories of 50 steps on average, so many for each Check, and keep no
// files: the seed of what diverged is printed, and -rapid.seed draws it again.
func setRapid(t *testing.T, histories int, shrink string) {
	for name, value := range map[string]string{"steps": "50", "checks": fmt.Sprint(histories), "nofailfile": "true", "shrinktime": shrink} {
		before := flag.Lookup("rapid." + name).Value.String()
		require.NoError(t, flag.Set("rapid."+name, value))
		t.Cleanup(func() { require.NoError(t, flag.Set("rapid."+name, before)) })
	}
}

// A modelTally is what all histories together did.
type modelTally struct {
	sync.Mutex
	expected, histories, steps int
	cells                      map[modelCell]int
}

func (all *modelTally) expect(histories int) {
	all.Lock()
	defer all.Unlock()
	all.expected += histories
}

func (all *modelTally) add(w *twins) {
	all.Lock()
	defer all.Unlock()
	for c, n := range w.cells {
		all.cells[c] += n
	}
	all.histories++
	all.steps += w.steps
}

// check: all histories ran, were as long as they should be, and met every cell of the table.
func (all *modelTally) check(t *testing.T) {
	if t.Failed() {
		return
	}
	t.Logf("%d histories, %d steps", all.histories, all.steps)
	require.Equal(t, all.expected, all.histories)
	if all.histories < 1000 { // -run chose some
		return
	}
	require.Greater(t, all.steps, 45*all.histories)
	for verb := range readPage() {
		for _, s := range []string{"PendingImport", "Enabled", "Disabled", "PendingDeletion", "Deleted", "Unavailable"} {
			require.NotZero(t, all.cells[modelCell{verb, s}], "%s of a key that is %s", verb, s)
		}
	}
}

// A scope is a test whose stores are closed with one history.
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

// drawHistory does what rapid draws to a new service and to a new model.
func drawHistory(t *testing.T, r *rapid.T, bug modelBug) *twins {
	s := &scope{TB: t}
	defer s.end()
	w := &twins{T: r, tb: s, ids: map[*modelKey]string{}}
	delay := pick(w, "PurgeDelay", -1, day, 3*day)
	w.k = kit.New(s, func(c *kms.Config) {
		c.PurgeDelay, c.MaxKeyVersions, c.CacheKeys = delay, 3, 64
		c.Observe = w.hear
	}, bug.inService)
	w.managers, w.root = []*kms.Manager{w.k.Manager, w.k.Another(s)}, w.k.Root
	w.model = newModel(w.k.Clock.Now(), delay, 3)
	w.hardware = w.level() == kms.ProtectionHSM
	bug.inModel(w.model)
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
	return w
}
