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
	"slices"
	"testing"

	"github.com/keyhold/kms/internal/suite"
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
	promises().Run(t, open)
}

// A promise is one case.
type promise = suite.Case[*fixture]

func promises() suite.Suite[Subject, *fixture] {
	return suite.Suite[Subject, *fixture]{
		Cases: slices.Concat(keyCases(), locateCases(), openCases(), refusalCases(), secretCases()),
		Fixture: func(t suite.TB, s Subject) *fixture {
			f := &fixture{TB: t, Subject: s}
			f.enough()
			return f
		},
	}
}
