// Package legacytest proves a legacy.Source: it runs every promise of package legacy that can be
// seen from outside. It is for those who write one. It uses package testing alone, so that it
// brings nothing else into their modules.
//
//	func TestSource(t *testing.T) {
//		legacytest.Run(t, func(t *testing.T) legacytest.Subject {
//			return legacytest.Subject{Source: …, Bare: …, Known: …, Foreign: …}
//		})
//	}
package legacytest

import (
	"context"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/keyhold/kms/legacy"
)

// Subject is a Source under test, with what it should and what it should not open. All fields
// are required. Its keys are of random bytes, for material is looked for where it should not be.
type Subject struct {
	Source legacy.Source // with two keys or more, and two versions or more in one of them
	Bare   legacy.Source // another of the same scheme, without any key

	// Known are ciphertexts of keys of Source: two or more, some with an encryption context,
	// some without, of at least two key versions.
	Known []Known

	// Foreign are things for which Locate must say that they are no ciphertexts of the scheme.
	Foreign [][]byte
}

// Known is a ciphertext of which all is known.
type Known struct {
	KeyID             string
	Ciphertext        []byte
	EncryptionContext map[string]string
	Plaintext         []byte
}

// Run runs each case as a subtest, with a Subject that open made for it. A case that fails says
// why the promise matters.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	t.Helper()
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			c.check(t, open(t))
		})
	}
}

// promise is one case: what is run, and why it has to hold.
type promise struct {
	name string
	why  string
	run  func(*fixture)
}

func cases() []promise {
	return slices.Concat(keyCases(), locateCases(), openCases(), refusalCases(), secretCases())
}

// check runs the case. A panic of the Source is a failure of the case.
func (c promise) check(t tb, s Subject) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("panic: %v\n%s", r, debug.Stack())
		}
		if t.Failed() {
			t.Logf("why: %s", c.why)
		}
	}()
	f := &fixture{tb: t, Subject: s}
	f.enough()
	c.run(f)
}

// tb is what the cases need of *testing.T, so that the package's own test can watch them
// fail. Fatalf ends the goroutine.
type tb interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Failed() bool
}
