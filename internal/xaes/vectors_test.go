package xaes_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/sha3"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/xaes"
)

// sealWithNonce seals as the specification does, with a 24-byte nonce of the test's
// choice. The derivation is the package's; the GCM is the plain one of crypto/cipher,
// for which FIPS enforcement is off for the length of the call.
func sealWithNonce(t *testing.T, k *xaes.Key, nonce, plaintext, ad []byte) []byte {
	t.Helper()
	require.Len(t, nonce, 24)
	var sealed []byte
	fips140.WithoutEnforcement(func() {
		block, err := aes.NewCipher(k.MessageKey(nonce[:xaes.SaltSize]))
		require.NoError(t, err)
		gcm, err := cipher.NewGCM(block)
		require.NoError(t, err)
		sealed = gcm.Seal(bytes.Clone(nonce), nonce[xaes.SaltSize:], plaintext, ad)
	})
	return sealed
}

// TestVectors runs the two single vectors of the specification.
func TestVectors(t *testing.T) {
	t.Parallel()
	const nonce, plaintext = "ABCDEFGHIJKLMNOPQRSTUVWX", "XAES-256-GCM"
	for _, v := range []struct {
		name, ad, want string
		key            byte
	}{
		{name: "msb of L is 0", key: 0x01, ad: "",
			want: "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{name: "msb of L is 1", key: 0x03, ad: "c2sp.org/XAES-256-GCM",
			want: "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			k, err := xaes.New(bytes.Repeat([]byte{v.key}, xaes.KeySize))
			require.NoError(t, err)
			want, err := hex.DecodeString(v.want)
			require.NoError(t, err)
			want = append([]byte(nonce), want...)

			require.Equal(t, want, sealWithNonce(t, k, []byte(nonce), []byte(plaintext), []byte(v.ad)))
			opened, err := k.Open(nil, want, []byte(v.ad))
			require.NoError(t, err)
			require.Equal(t, plaintext, string(opened))
		})
	}
}

// TestAccumulatedVectors runs the specification's many random vectors, of which it gives
// the digest: 10 000, and 1 000 000 in a campaign.
func TestAccumulatedVectors(t *testing.T) {
	t.Parallel()
	n, want := 10_000, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
	if campaign.Running() {
		n, want = 1_000_000, "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15"
	}
	source, digest := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	draw := func(n int) []byte {
		b := make([]byte, n)
		_, err := source.Read(b)
		require.NoError(t, err)
		return b
	}
	for range n {
		k, err := xaes.New(draw(xaes.KeySize))
		require.NoError(t, err)
		nonce := draw(24)
		plaintext := draw(int(draw(1)[0]))
		ad := draw(int(draw(1)[0]))

		sealed := sealWithNonce(t, k, nonce, plaintext, ad)
		opened, err := k.Open(nil, sealed, ad)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plaintext, opened))
		_, err = digest.Write(sealed[24:])
		require.NoError(t, err)
	}
	sum := make([]byte, 32)
	_, err := digest.Read(sum)
	require.NoError(t, err)
	require.Equal(t, want, hex.EncodeToString(sum))
}
