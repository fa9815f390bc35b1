// Package keystoretest is for those who write a driver for package keystore: Run proves
// that it keeps the contract. Flaky, for the tests of a Store's users, fails on demand.
// It needs nothing but the standard library.
package keystoretest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/keyhold/kms/keystore"
)

// Driver tells Run how to come by Stores.
type Driver struct {
	// Open returns an empty Store, and sees to it that it is closed when t ends. Run calls
	// it once for every case, and once before them. Required.
	Open func(t *testing.T) keystore.Store

	// Reopen closes a Store that Open or Reopen returned, and opens anew what it kept.
	// Nil: what this Store keeps does not outlive it.
	Reopen func(t *testing.T, s keystore.Store) keystore.Store
}

// Run tests that the Stores of a driver keep the contract, one subtest a case. A failure
// says which promise was broken and why somebody relies on it. Cases for a Feed, a Local,
// a Watcher and for Reopen are left out where there is none; the log ends with what was not
// there.
func Run(t *testing.T, d Driver) {
	var absent []string
	probe := d.trial(t)
	for _, c := range cases {
		if !probe.has(c.needs) {
			if !slices.Contains(absent, string(c.needs)) {
				absent = append(absent, string(c.needs))
			}
			continue
		}
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			trial := d.trial(t)
			defer func() {
				if t.Failed() {
					t.Logf("why it matters: %s", c.why)
				}
			}()
			c.run(trial)
		})
	}
	if len(absent) > 0 {
		t.Logf("not tested, because the driver does not have it: %s", strings.Join(absent, ", "))
	}
}

func (d Driver) trial(t *testing.T) *trial {
	one := &trial{TB: t, Store: d.Open(t)}
	if d.Reopen != nil {
		one.reopen = func(s keystore.Store) keystore.Store { return d.Reopen(t, s) }
	}
	return one
}

// TB is what a case needs of a testing.T.
type TB interface {
	Helper()
	Context() context.Context
	Fatalf(format string, args ...any)
}

// A testCase is one promise of the contract.
type testCase struct {
	name  string
	why   string  // who is hurt if it is broken
	needs ability // else the case is not for the driver
	run   func(*trial)
}

// An ability is what a Store may have or not.
type ability string

const (
	anyStore   ability = ""
	reopenable ability = "Reopen"
	feed       ability = "Feed"
	local      ability = "Local"
	watcher    ability = "Watcher"
)

var cases = slices.Concat(putCases, boundsCases, listCases, listItemCases, raceCases, contextCases, reopenCases, feedCases, followCases)

// A trial is one run of one case with a Store of its own.
type trial struct {
	TB
	keystore.Store
	reopen func(keystore.Store) keystore.Store // nil: the driver has none
}

func (t *trial) has(a ability) (ok bool) {
	switch a {
	case reopenable:
		ok = t.reopen != nil
	case feed:
		_, ok = keystore.FeedOf(t.Store)
	case watcher:
		_, ok = keystore.WatcherOf(t.Store)
	case local:
		_, ok = keystore.LocalOf(t.Store)
	default:
		ok = true
	}
	return ok
}
