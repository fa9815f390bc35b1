package software_test

import (
	"crypto/fips140"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

// Bytes that were made when the formats were. They open for ever: a change here is a new
// format, beside the old one.
const (
	vectorID         = "golden"
	vectorPlaintext  = "plaintext"
	vectorAD         = "associated data"
	vectorPassphrase = "correct horse battery staple"

	// format 1, length of the id, id, keyset, hash
	vectorMaterial = "0106676f6c64656e08d1a4c10312680a5d0a31747970652e676f6f676c65617069732e636f6d2f676f6f676c652e6372" +
		"7970746f2e74696e6b2e5841657347636d4b657912261202080c1a2019cc5866c55e3a86320771fbf246e7362f12d92b" +
		"ddcc51f96b83cf18e2045a1a1801100118d1a4c10320035ce653aca5c090e0c832066970e080f1ac5347e3a093bdfdcd" +
		"d15ac8fbdecf99"

	// the key in that keyset
	vectorKey = "19cc5866c55e3a86320771fbf246e7362f12d92bddcc51f96b83cf18e2045a1a"

	// salt, iv, ciphertext of 32 zero bytes and the plaintext, tag
	vectorCiphertext = "5ffac626ba95d0a7f0d14a6013f2ad164b254193c430131419ad6b22511066b982fd756248b6f1f13d66f116db442c7d" +
		"8e24a2a45101b491095fc0e8ebafe01bc362b25763007dcd1a97a3bf0308945197"

	// format 1 and the same, sealed by the root of that key
	vectorRootSealed = "0101763bb69b8e8da91d4f570e2f069a99cba84f3c460aa041e45f4d7b8658dec10a54b6fb7630c35920c21a6eb49ba1" +
		"9db3a808fccfe14288b649919dc387f7de0edfcbb3033ee3093e222e6c89557d448a"

	// format 2, salt of Argon2id and the same, sealed by the root of the passphrase
	vectorPassphraseSealed = "02bbc17f5be86abddf79403c71857bd7f458a642afc194219bf17d79f1a4b779795d327c57b26d44f36560e048b9c4e4" +
		"e78b398647e4bf9bb8ad2bfc4ec2b80784802e18b92a482141d354bc7be46cb9b099278e86f40daaa0646495d3f1e071" +
		"9170"
)

func TestVectors(t *testing.T) {
	t.Parallel()
	material, ciphertext := unhex(t, vectorMaterial), unhex(t, vectorCiphertext)
	k, err := software.New().Open(t.Context(), vectorID, provider.AES256, material)
	require.NoError(t, err)
	opened, err := k.Decrypt(t.Context(), nil, ciphertext, []byte(vectorAD))
	require.NoError(t, err)
	require.Equal(t, vectorPlaintext, string(opened))
	require.Equal(t, vectorKey, hex.EncodeToString(software.KeyOfMaterial(t, material)))

	fips140.WithoutEnforcement(func() {
		padded, err := tinkAEAD(t, software.KeysetOfMaterial(t, material)).Decrypt(ciphertext, []byte(vectorAD))
		require.NoError(t, err)
		require.Equal(t, string(make([]byte, 32))+vectorPlaintext, string(padded))
	})

	root, err := software.NewRoot(unhex(t, vectorKey))
	require.NoError(t, err)
	opened, err = root.Decrypt(unhex(t, vectorRootSealed), []byte(vectorAD))
	require.NoError(t, err)
	require.Equal(t, vectorPlaintext, string(opened))
}
