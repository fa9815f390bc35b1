package cleartext_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/keyhold/kms/internal/cleartext"
)

func TestKeysets(t *testing.T) {
	t.Parallel()
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	require.NoError(t, err)
	b, err := cleartext.Write(h)
	require.NoError(t, err)
	again, err := cleartext.Read(b)
	require.NoError(t, err)
	clear(b)
	one, err := h.Primary()
	require.NoError(t, err)
	two, err := again.Primary()
	require.NoError(t, err)
	require.True(t, one.Key().Equal(two.Key()))
	for _, bad := range [][]byte{nil, {}, {0}, b} {
		h, err := cleartext.Read(bad)
		require.Error(t, err)
		require.Nil(t, h)
	}
}

func TestSecretBytesAreCopied(t *testing.T) {
	t.Parallel()
	given := []byte("secret")
	secret := cleartext.Secret(given)
	clear(given)
	clear(cleartext.Bytes(secret))
	require.Equal(t, "secret", string(cleartext.Bytes(secret)))
}
