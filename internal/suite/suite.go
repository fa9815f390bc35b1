// Package suite runs the cases of providertest and legacytest. Drivers in other repositories import
// those, so this package imports the standard library alone.
package suite

import (
	"context"
	"runtime/debug"
	"testing"
)

// TB is the part of *testing.T that a case uses. Fatalf ends the goroutine. A Recorder is a TB,
// too: with it the tests of a suite watch cases fail.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Failed() bool
}

// Case is one promise of a contract. F is the fixture with which Run works.
type Case[F any] struct {
	Name string
	Why  string // why the promise matters: the log of a failure ends with it
	Run  func(F)
}

// Suite is all cases of a contract. S is what is under test, and F is the fixture that the
// cases make of it.
type Suite[S, F any] struct {
	Cases   []Case[F]
	Fixture func(t TB, subject S) F
}

// Run runs each case as a subtest, with a subject that open made for it.
func (s Suite[S, F]) Run(t *testing.T, open func(t *testing.T) S) {
	t.Helper()
	for _, c := range s.Cases {
		t.Run(c.Name, func(t *testing.T) {
			s.check(t, c, open(t))
		})
	}
}

// Names returns the names of the cases, in order, and why each case matters, by its name. It
// fails t where there is no case, where two cases have one name, and where a case has no Why.
func (s Suite[S, F]) Names(t TB) (names []string, whyOf map[string]string) {
	t.Helper()
	whyOf = map[string]string{}
	for _, c := range s.Cases {
		if _, twice := whyOf[c.Name]; twice {
			t.Fatalf("two cases are called %q", c.Name)
		}
		if c.Why == "" {
			t.Fatalf("%q does not say why it matters", c.Name)
		}
		names = append(names, c.Name)
		whyOf[c.Name] = c.Why
	}
	if len(names) == 0 {
		t.Fatalf("there is no case")
	}
	return names, whyOf
}

// Watch runs the case of that name and returns what a Recorder kept of it. A name that no case
// has is a failure.
func (s Suite[S, F]) Watch(ctx context.Context, name string, subject S) *Recorder {
	return Record(ctx, func(t TB) {
		for _, c := range s.Cases {
			if c.Name == name {
				s.check(t, c, subject)
				return
			}
		}
		t.Fatalf("no case is called %q", name)
	})
}

// check runs a case. A panic in it is a failure.
func (s Suite[S, F]) check(t TB, c Case[F], subject S) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("panic: %v\n%s", r, debug.Stack())
		}
		if t.Failed() {
			t.Logf("why: %s", c.Why)
		}
	}()
	c.Run(s.Fixture(t, subject))
}
