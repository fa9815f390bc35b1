package tinkkeys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/subtle"
	"encoding/binary"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"

	"github.com/keyhold/kms/internal/cleartext"
)

// AESGCM returns an AES-256-GCM key of Tink with that ID, whose ciphertexts have a prefix; with the
// ID 0 they have none.
func AESGCM(t testing.TB, key []byte, id uint32) *aesgcm.Key {
	t.Helper()
	opts := aesgcm.ParametersOpts{KeySizeInBytes: 32, IVSizeInBytes: 12, TagSizeInBytes: 16, Variant: aesgcm.VariantNoPrefix}
	if id != 0 {
		opts.Variant = aesgcm.VariantTink
	}
	params, err := aesgcm.NewParameters(opts)
	if err != nil {
		t.Fatal(err)
	}
	k, err := aesgcm.NewKey(cleartext.Secret(key), id, params)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Beginning makes a ciphertext of an AESGCM key that begins with start, as anybody can who has the
// key and chooses nonce and plaintext: 12 bytes are the nonce, the rest is encrypted. Where the key
// has an ID, its prefix comes first, and start has to begin with it.
func Beginning(t testing.TB, key []byte, id uint32, start, data []byte) (ciphertext, plaintext []byte) {
	t.Helper()
	rest := start
	if id != 0 {
		prefix := binary.BigEndian.AppendUint32([]byte{1}, id)
		if string(start[:len(prefix)]) != string(prefix) {
			t.Fatal("the start does not begin with the prefix of the key")
		}
		rest = start[len(prefix):]
	}
	fips140.WithoutEnforcement(func() {
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		iv, want := rest[:12], rest[12:]
		plaintext = make([]byte, len(want))
		subtle.XORBytes(plaintext, want, gcm.Seal(nil, iv, plaintext, nil))
		ciphertext = append(append([]byte(nil), start[:len(start)-len(want)]...), gcm.Seal(nil, iv, plaintext, data)...)
	})
	return ciphertext, plaintext
}
