package kit

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/keyring"
)

// An OldKey is a key of another system, with what it encrypted there, the oldest version first,
// each of the plaintext "old" under the context EC.
type OldKey struct {
	Source, Empty legacy.Source // the same scheme with the key and without
	ID            string
	Ciphertexts   [][]byte
	EC            kms.EncryptionContext
}

// OldKeyring makes an OldKey in a keyring, with so many versions.
func OldKeyring(t testing.TB, name string, versions int) OldKey {
	t.Helper()
	old := OldKey{ID: legacy.NameID("test", name), EC: kms.EncryptionContext{"tenant": "7"}}
	key := legacy.Key{ID: old.ID, Description: name}
	for i := range versions {
		version := legacy.NameID("test", name+string(rune('a'+i)))
		key.Versions = append(key.Versions, keyring.NewVersion(version, key.CreatedAt, OldMaterial(name, version)))
		associated := sha256.Sum256([]byte("tenant=7"))
		old.Ciphertexts = append(old.Ciphertexts, GCM(t, OldMaterial(name, version)).Seal([]byte(version), nil, []byte("old"), associated[:]))
	}
	var err error
	old.Source, err = keyring.New(key)
	must(t, "making a keyring", err)
	old.Empty, err = keyring.New()
	must(t, "making an empty keyring", err)
	return old
}

// OldMaterial derives the material of an old key from what it is called.
func OldMaterial(names ...string) []byte {
	sum := sha256.Sum256([]byte(strings.Join(names, "/")))
	return sum[:]
}

// GCM returns the AEAD that old keys encrypt with.
func GCM(t testing.TB, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	must(t, "making AES", err)
	a, err := cipher.NewGCMWithRandomNonce(block)
	must(t, "making GCM", err)
	return a
}

// WithSources gives a Manager keys of other systems.
func WithSources(s ...legacy.Source) func(*kms.Config) {
	return func(c *kms.Config) { c.Legacy = s }
}

// OldIn makes a service with an OldKey and an instance that may take it over, or has.
func OldIn(t testing.TB, instance string, taken bool) (*kmstest.KMS, OldKey) {
	t.Helper()
	old := OldKeyring(t, "invoices", 2)
	k := kmstest.New(t, WithSources(old.Source))
	Tenant(t, k, instance, 0)
	if taken {
		must(t, "MigrateLegacyKey", Err(k.MigrateLegacyKey(t.Context(), old.ID, instance)))
	}
	return k, old
}
