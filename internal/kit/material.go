package kit

import (
	"bytes"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/kmstest"
)

// Material returns the material of an owner who keeps a copy: 32 bytes.
func Material() []byte { return bytes.Repeat([]byte("own!"), 8) }

// Pattern returns n bytes that are easy to make elsewhere: 0, 7, 14, …
func Pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(7 * i)
	}
	return b
}

// WrapMaterial wraps material for a key.
func WrapMaterial(t testing.TB, k *kmstest.KMS, id string, material []byte) (wrapped, token []byte) {
	t.Helper()
	p, err := k.GetParametersForImport(t.Context(), id, nil)
	must(t, "GetParametersForImport", err)
	wrapped, err = kms.WrapForImport(p, material)
	must(t, "WrapForImport", err)
	return wrapped, p.Token
}

// ImportedKey makes a key and imports its material.
func ImportedKey(t testing.TB, k *kmstest.KMS, material []byte) (id string, wrapped, token []byte) {
	t.Helper()
	return ImportedKeyIn(t, k, kms.DefaultInstance, material)
}

// ImportedKeyIn makes a key in an instance and imports its material, wrapped with a wrapping key that all share.
func ImportedKeyIn(t testing.TB, k *kmstest.KMS, instance string, material []byte) (id string, wrapped, token []byte) {
	t.Helper()
	id = ExternalKeyIn(t, k, instance)
	cfg := k.ConfigWith()
	p, err := ImportParameters(t.Context(), k.Manager, cfg.Store, cfg.Root, id, k.Clock.Now())
	must(t, "ImportParameters", err)
	wrapped, err = kms.WrapForImport(p, material)
	must(t, "WrapForImport", err)
	token = p.Token
	key, err := k.ImportKeyMaterial(t.Context(), id, wrapped, token, time.Time{})
	must(t, "ImportKeyMaterial", err)
	if key.State != kms.Enabled {
		t.Fatalf("kit: the imported key is %s", key.State)
	}
	return id, wrapped, token
}

// ExternalKey makes a key that waits for its material.
func ExternalKey(t testing.TB, k *kmstest.KMS) (id string) {
	t.Helper()
	return ExternalKeyIn(t, k, kms.DefaultInstance)
}

// ExternalKeyIn makes a key in an instance that waits for its material.
func ExternalKeyIn(t testing.TB, k *kmstest.KMS, instance string) (id string) {
	t.Helper()
	key, err := k.CreateKey(t.Context(), &kms.CreateKeyOptions{Origin: kms.OriginExternal, Instance: instance})
	must(t, "CreateKey", err)
	if key.State != kms.PendingImport || key.PrimaryVersion != 0 {
		t.Fatalf("kit: the new key is %s, with the primary version %d", key.State, key.PrimaryVersion)
	}
	return key.ID
}
