package kms_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// historiesAtOnce is how many histories a subtest draws. It prints the seed of the one that diverges.
const historiesAtOnce = 100

func TestModel(t *testing.T) {
	setRapid(t)
	for _, place := range []struct {
		name      string
		histories int
	}{{"Memory", campaign.Size(2000, 90_000)}} {
		t.Run(place.name, func(t *testing.T) {
			for n := range place.histories / historiesAtOnce {
				t.Run(fmt.Sprint(n+1), func(t *testing.T) {
					t.Parallel()
					rapid.Check(t, func(r *rapid.T) { drawHistory(t, r) })
				})
			}
		})
	}
}

// setRapid has rapid draw histories of 50 steps on average, and keep no files.
func setRapid(t *testing.T) {
	for name, value := range map[string]string{"steps": "50", "checks": fmt.Sprint(historiesAtOnce), "nofailfile": "true", "shrinktime": "20s"} {
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

func drawHistory(t *testing.T, r *rapid.T) {
	s := &scope{TB: t}
	defer s.end()
	w := &twins{T: r, tb: s, ids: map[*modelKey]string{}}
	delay := pick(w, "PurgeDelay", -1, 24*time.Hour, 72*time.Hour)
	w.model = &model{delay: delay, maxVersions: 3, instances: map[string]*modelInstance{kms.DefaultInstance: {name: kms.DefaultInstance}}, aliases: map[string]*modelKey{}}
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
	r.Repeat(map[string]func(*rapid.T){
		"step": func(*rapid.T) {
			w.at = pick(w, "process", 0, 1)
			pick(w, "call", calls...)()
			w.look()
		},
	})
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
