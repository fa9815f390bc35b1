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
	"slices"
	"testing"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/provider"
)

// Run runs each case as a subtest, with a provider that open made for it. The providers
// may share what is behind them, such as one token: every id that Run uses is random and
// used once, and every key that it makes it destroys. A case that fails says why the
// promise matters.
func Run(t *testing.T, open func(t *testing.T) provider.Provider) {
	t.Helper()
	promises().Run(t, open)
}

// A promise is one case.
type promise = suite.Case[*fixture]

func promises() suite.Suite[provider.Provider, *fixture] {
	return suite.Suite[provider.Provider, *fixture]{
		Cases: slices.Concat(
			encryptionCases(),
			dataKeyCases(),
			refusalCases(),
			materialCases(),
			destroyCases(),
			concurrencyCases(),
			signingCases(),
			macAndOAEPCases(),
		),
		Fixture: func(t suite.TB, p provider.Provider) *fixture { return &fixture{TB: t, p: p} },
	}
}
