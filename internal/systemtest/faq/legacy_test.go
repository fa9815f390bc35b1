package faq_test

import (
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/legacy"
	"github.com/stretchr/testify/require"
)

// The commands about keys of the previous edition.

// oldEdition opens the service with a keyring that holds a key of the previous edition, and
// keeps a ciphertext that was made with it there.
func (f *faq) oldEdition(t *testing.T, d *datadriven.TestData) (string, error) {
	f.old = kit.OldKeyring(t, first(t, d), 2)
	f.name(first(t, d), &faqKey{id: f.old.ID})
	f.kept[word(d, "as")] = &keptCiphertext{ciphertext: f.old.Ciphertexts[0], plaintext: []byte("old"), ec: f.old.EC}
	return f.reopen(t, f.old.Source, "opened with the keyring of the previous edition")
}

// forgetKeyring opens the service with an empty keyring.
func (f *faq) forgetKeyring(t *testing.T, _ *datadriven.TestData) (string, error) {
	return f.reopen(t, f.old.Empty, "opened with an empty keyring")
}

func (f *faq) reopen(t *testing.T, source legacy.Source, said string) (string, error) {
	m, err := kms.Open(t.Context(), f.k.ConfigWith(kit.WithSources(source)))
	require.NoError(t, err)
	f.m = m
	return said, nil
}

func (f *faq) migrate(t *testing.T, d *datadriven.TestData) (string, error) {
	return tell(f.m.MigrateLegacyKey(t.Context(), f.key(t, d), word(d, "in")))
}
