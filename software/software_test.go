package software_test

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

func randomBytes(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := rand.Read(b)
	require.NoError(t, err)
	return b
}

// newKey generates and opens a key.
func newKey(t testing.TB) provider.Key {
	t.Helper()
	p := software.New()
	m, err := p.Generate(t.Context(), "id", provider.AES256, provider.UseEncrypt)
	require.NoError(t, err)
	k, err := p.Open(t.Context(), "id", provider.AES256, m)
	require.NoError(t, err)
	return k
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	p := software.New()
	m, err := p.Generate(t.Context(), "id", provider.AES256, provider.UseEncrypt)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.Generate(ctx, "id", provider.AES256, provider.UseEncrypt)
	require.ErrorIs(t, err, context.Canceled)
	_, err = p.Open(ctx, "id", provider.AES256, m)
	require.ErrorIs(t, err, context.Canceled)
}

// TestPayloadIsTinks: the keyset in the material, read by Tink itself, opens a ciphertext
// to 32 zero bytes and the plaintext; and what Tink seals so, we open.
func TestPayloadIsTinks(t *testing.T) {
	t.Parallel()
	p := software.New()
	m, err := p.Generate(t.Context(), "id", provider.AES256, provider.UseEncrypt)
	require.NoError(t, err)
	k, err := p.Open(t.Context(), "id", provider.AES256, m)
	require.NoError(t, err)
	ad := []byte("associated data")
	for _, n := range []int{0, 1, 16, 32, 33, 4096} {
		plaintext := randomBytes(t, n)
		padded := append(make([]byte, 32), plaintext...)
		sealed, err := k.Encrypt(t.Context(), nil, plaintext, ad)
		require.NoError(t, err)

		var opened, theirs []byte
		fips140.WithoutEnforcement(func() {
			tinks := tinkAEAD(t, software.KeysetOfMaterial(t, m))
			opened, err = tinks.Decrypt(sealed, ad)
			require.NoError(t, err)
			theirs, err = tinks.Encrypt(padded, ad)
			require.NoError(t, err)
		})
		require.True(t, bytes.Equal(padded, opened))
		opened, err = k.Decrypt(t.Context(), nil, theirs, ad)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plaintext, opened))
	}
}

// TestAllocations: at most the AES and the GCM of the message, which Encrypt seldom makes,
// and the result where dst has no room for it.
func TestAllocations(t *testing.T) {
	k, ctx := newKey(t), t.Context()
	plaintext, ad := make([]byte, 32), make([]byte, 24)
	dst := make([]byte, 0, 256)
	sealed, err := k.Encrypt(ctx, nil, plaintext, ad)
	require.NoError(t, err)
	// Where the race detector runs, pools forget: then it is one more or two.
	const want = 3
	require.LessOrEqual(t, testing.AllocsPerRun(200, func() { _, _ = k.Encrypt(ctx, dst, plaintext, ad) }), float64(want))
	require.LessOrEqual(t, testing.AllocsPerRun(200, func() { _, _ = k.Decrypt(ctx, dst, sealed, ad) }), float64(want))
	require.LessOrEqual(t, testing.AllocsPerRun(200, func() { _, _ = k.Encrypt(ctx, nil, plaintext, ad) }), float64(want+1))
}
