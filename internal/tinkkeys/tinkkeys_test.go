package tinkkeys_test

import (
	"bytes"
	"crypto/fips140"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"

	"github.com/keyhold/kms/internal/tinkkeys"
)

// The keyset has the key as its primary, with the ID that the variant wants.
func TestHandle(t *testing.T) {
	t.Parallel()
	h := tinkkeys.Handle(t, tinkkeys.XAES(t, bytes.Repeat([]byte{1}, 32), xaesgcm.VariantTink, 8))
	require.Equal(t, 1, h.Len())
	entry, err := h.Primary()
	require.NoError(t, err)
	require.Equal(t, uint32(0x01020304), entry.KeyID())
}

func TestAEADIsOfTheKey(t *testing.T) {
	t.Parallel()
	open := func(key byte, ciphertext []byte) (opened []byte, err error) {
		a := tinkkeys.AEAD(t, tinkkeys.XAES(t, bytes.Repeat([]byte{key}, 32), xaesgcm.VariantNoPrefix, 12))
		if ciphertext == nil {
			return a.Encrypt([]byte("plaintext"), []byte("data"))
		}
		return a.Decrypt(ciphertext, []byte("data"))
	}
	fips140.WithoutEnforcement(func() { // Tink makes its own nonces, which fips140=only does not take
		sealed, err := open(1, nil)
		require.NoError(t, err)
		opened, err := open(1, sealed)
		require.NoError(t, err)
		require.Equal(t, "plaintext", string(opened))
		_, err = open(2, sealed)
		require.Error(t, err)
	})
}

// A ciphertext begins as was wished, and is one of Tink's.
func TestBeginning(t *testing.T) {
	t.Parallel()
	key, start := bytes.Repeat([]byte{1}, 32), []byte("\x01\x01\x02\x03\x04 and eighteen more")
	for _, id := range []uint32{0, 0x01020304} {
		ciphertext, plaintext := tinkkeys.Beginning(t, key, id, start, []byte("data"))
		require.Equal(t, start, ciphertext[:len(start)])
		fips140.WithoutEnforcement(func() {
			opened, err := tinkkeys.AEAD(t, tinkkeys.AESGCM(t, key, id)).Decrypt(ciphertext, []byte("data"))
			require.NoError(t, err)
			require.Equal(t, plaintext, opened)
		})
	}
}
