package tinkset_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/internal/vectors"
	"github.com/keyhold/kms/legacy/legacytest"
	"github.com/keyhold/kms/legacy/tinkset"
)

// A vector is a keyset and what Tink v2.9.0 encrypted with each of its keys: one of
// testdata/vectors.json, which is frozen.
type vector struct {
	Name     string
	Keyset   json.RawMessage
	Messages []struct {
		AssociatedData, Plaintext, Ciphertext vectors.Hex
	}
}

func (v vector) handle(t testing.TB) *keyset.Handle {
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(v.Keyset)))
	require.NoError(t, err)
	return h
}

func source(t testing.TB) *tinkset.Source {
	var sets []tinkset.Keyset
	for _, v := range vectors.Read[vector](t) {
		sets = append(sets, tinkset.Keyset{Name: v.Name, Handle: v.handle(t)})
	}
	s, err := tinkset.New(sets...)
	require.NoError(t, err)
	return s
}

func known(t testing.TB) (all []legacytest.Known) {
	for _, v := range vectors.Read[vector](t) {
		for _, m := range v.Messages {
			all = append(all, legacytest.Known{KeyID: legacy.NameID(tinkset.Scheme, v.Name), Ciphertext: m.Ciphertext,
				EncryptionContext: contextOf(m.AssociatedData), Plaintext: m.Plaintext})
		}
	}
	return all
}

func contextOf(data []byte) map[string]string {
	if len(data) == 0 {
		return nil
	}
	return map[string]string{tinkset.ContextKey: hex.EncodeToString(data)}
}
