// Package tinkkeys makes keysets of Tink from single keys, for tests that hold our
// implementations against Tink's. Only tests import it.
package tinkkeys

import (
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	tinkkey "github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/keyhold/kms/internal/cleartext"
)

// Handle returns the keyset of one key.
func Handle(t testing.TB, k tinkkey.Key) *keyset.Handle {
	t.Helper()
	m := keyset.NewManager()
	id, err := m.AddKey(k)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SetPrimary(id); err != nil {
		t.Fatal(err)
	}
	h, err := m.Handle()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// AEAD returns Tink's implementation of an AEAD key.
func AEAD(t testing.TB, k tinkkey.Key) tink.AEAD {
	t.Helper()
	a, err := aead.New(Handle(t, k))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// XAES returns a key of Tink's XAES-256-GCM. A variant that gives the key an ID gives it
// 0x01020304.
func XAES(t testing.TB, key []byte, variant xaesgcm.Variant, saltSize int) *xaesgcm.Key {
	t.Helper()
	params, err := xaesgcm.NewParameters(variant, saltSize)
	if err != nil {
		t.Fatal(err)
	}
	var id uint32
	if params.HasIDRequirement() {
		id = 0x01020304
	}
	k, err := xaesgcm.NewKey(cleartext.Secret(key), id, params)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
