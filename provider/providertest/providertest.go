// Package providertest proves a provider: it runs every promise of package provider that
// can be seen from outside. It is for those who write one. It uses package testing alone,
// so that it brings nothing else into their modules.
//
//	func TestProvider(t *testing.T) {
//		providertest.Run(t, func(t *testing.T) provider.Provider { return mine.New() })
//	}
//
// A provider has to offer provider.AES256. Of the other specs those are run that it offers;
// the log says which it does not.
//
// One promise is beyond it: that a Key commits. Whether one ciphertext can be made that
// two keys open depends on the algorithm, and so does the test of it.
package providertest

import (
	"context"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/keyhold/kms/provider"
)

// Run runs each case as a subtest, with a provider that open made for it. The providers
// may share what is behind them, such as one token: every id that Run uses is random and
// used once, and every key that it makes it destroys. A case that fails says why the
// promise matters.
func Run(t *testing.T, open func(t *testing.T) provider.Provider) {
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
	return slices.Concat(
		encryptionCases(),
		dataKeyCases(),
		refusalCases(),
		materialCases(),
		destroyCases(),
		concurrencyCases(),
		signingCases(),
		macAndOAEPCases(),
	)
}

// check runs the case. A panic of the provider is a failure of the case.
func (c promise) check(t tb, p provider.Provider) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("panic: %v\n%s", r, debug.Stack())
		}
		if t.Failed() {
			t.Logf("why: %s", c.why)
		}
	}()
	c.run(&fixture{tb: t, p: p})
}

// tb is what the cases need of *testing.T, so that the package's own test can watch them
// fail. Fatalf ends the goroutine.
type tb interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Failed() bool
}
