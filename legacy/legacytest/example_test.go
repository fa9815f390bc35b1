package legacytest_test

import (
	"testing"

	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/legacy/legacytest"
)

// What the author of a Source writes, here with a keyring for theirs.
func ExampleRun() {
	var known []legacytest.Known // frozen, in testdata
	TestSource := func(t *testing.T) {
		legacytest.Run(t, func(t *testing.T) legacytest.Subject {
			source, err := keyring.New( /* the keys of the known ciphertexts */ )
			if err != nil {
				t.Fatal(err)
			}
			bare, err := keyring.New()
			if err != nil {
				t.Fatal(err)
			}
			return legacytest.Subject{Source: source, Bare: bare, Known: known, Foreign: [][]byte{[]byte("no ciphertext")}}
		})
	}
	_ = TestSource
}
