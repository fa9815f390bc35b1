package software_test

import (
	"bytes"
	"crypto/fips140"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/secretdata"

	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/collision"
	"github.com/keyhold/kms/internal/tinkkeys"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

// TestCommitment makes ciphertexts that are valid under two XAES-256-GCM keys, and shows
// them to Tink, which opens each under both keys, and to this package, which opens none
// under a second key. 200 of them, and 10 000 in a campaign.
//
// The attacker of every other ciphertext knows how this package commits, and has put the
// 32 zero bytes under the first key: that one opens there, and only there.
func TestCommitment(t *testing.T) {
	t.Parallel()
	n := campaign.Size(200, 10_000)
	for i := range n {
		keys := [2][]byte{randomBytes(t, 32), randomBytes(t, 32)}
		salt, iv, plaintext := randomBytes(t, 12), randomBytes(t, 12), randomBytes(t, 32)
		derived := [2][]byte{collision.MessageKey(t, keys[0], salt), collision.MessageKey(t, keys[1], salt)}

		padded := append(make([]byte, 32), plaintext...)
		body := slices.Concat(padded, make([]byte, 16))
		committed := i%2 == 0
		if committed {
			for j, b := range collision.KeyStream(t, derived[0], iv, len(padded)) {
				body[j] ^= b
			}
		} else {
			body = randomBytes(t, len(body))
		}
		sealed := slices.Concat(salt, iv, collision.Make(t, derived, iv, nil, body, 4))

		for which, key := range keys {
			ks := xaesKeyset(t, key, xaesgcm.VariantNoPrefix, 12)
			fips140.WithoutEnforcement(func() {
				opened, err := tinkAEAD(t, ks).Decrypt(sealed, nil)
				require.NoError(t, err, "the collision is one for Tink")
				require.Equal(t, committed && which == 0, bytes.HasPrefix(opened, padded))
			})

			m, err := software.EncodeMaterial("id", ks)
			require.NoError(t, err)
			k, err := software.New().Open(t.Context(), "id", provider.AES256, m)
			require.NoError(t, err)
			opened, err := k.Decrypt(t.Context(), nil, sealed, nil)
			root, rootErr := software.NewRoot(key)
			require.NoError(t, rootErr)
			rootOpened, rootErr := root.Decrypt(append([]byte{1}, sealed...), nil)
			if committed && which == 0 {
				require.NoError(t, err)
				require.NoError(t, rootErr)
				require.True(t, bytes.HasPrefix(opened, plaintext))
				require.Equal(t, opened, rootOpened)
				continue
			}
			require.ErrorIs(t, err, provider.ErrCiphertext)
			require.Nil(t, opened)
			require.ErrorIs(t, rootErr, software.ErrRootCiphertext)
			require.Nil(t, rootOpened)
		}
	}
	t.Logf("%d collisions, each opened by Tink under both keys, none here under a second", n)
}

// TestRefusalOfASecondKeyLeavesNothing: the plaintext under the second key, which GCM has
// found valid, does not stay in the spare capacity of dst.
func TestRefusalOfASecondKeyLeavesNothing(t *testing.T) {
	t.Parallel()
	key := randomBytes(t, 32)
	ks := xaesKeyset(t, key, xaesgcm.VariantNoPrefix, 12)
	var sealed []byte
	fips140.WithoutEnforcement(func() {
		var err error
		sealed, err = tinkAEAD(t, ks).Encrypt(bytes.Repeat([]byte{0xaa}, 100), nil)
		require.NoError(t, err)
	})
	m, err := software.EncodeMaterial("id", ks)
	require.NoError(t, err)
	k, err := software.New().Open(t.Context(), "id", provider.AES256, m)
	require.NoError(t, err)

	dst := make([]byte, 0, 300)
	opened, err := k.Decrypt(t.Context(), dst, sealed, nil)
	require.ErrorIs(t, err, provider.ErrCiphertext)
	require.Nil(t, opened)
	require.NotContains(t, string(dst[:300]), "\xaa\xaa")

	// What is not committed to with 32 whole bytes is nothing, even if it is all zeros.
	for _, n := range []int{0, 1, 31} {
		fips140.WithoutEnforcement(func() {
			sealed, err = tinkAEAD(t, ks).Encrypt(make([]byte, n), nil)
			require.NoError(t, err)
		})
		_, err = k.Decrypt(t.Context(), nil, sealed, nil)
		require.ErrorIs(t, err, provider.ErrCiphertext)
	}
}

// TestCollisionsOfPlainGCM: the collisions are of AES-GCM itself, which Tink offers too.
func TestCollisionsOfPlainGCM(t *testing.T) {
	t.Parallel()
	for range 20 {
		keys := [2][]byte{randomBytes(t, 32), randomBytes(t, 32)}
		iv := randomBytes(t, 12)
		sealed := append(bytes.Clone(iv), collision.Make(t, keys, iv, nil, randomBytes(t, 96), 2)...)
		for _, key := range keys {
			params, err := aesgcm.NewParameters(aesgcm.ParametersOpts{
				KeySizeInBytes: 32, IVSizeInBytes: 12, TagSizeInBytes: 16, Variant: aesgcm.VariantNoPrefix,
			})
			require.NoError(t, err)
			k, err := aesgcm.NewKey(secretdata.NewBytesFromData(key, insecuresecretdataaccess.Token{}), 0, params)
			require.NoError(t, err)
			fips140.WithoutEnforcement(func() {
				_, err = tinkAEAD(t, binaryOf(t, tinkkeys.Handle(t, k))).Decrypt(sealed, nil)
				require.NoError(t, err)
			})
		}
	}
}
