package kms_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestCreateKeyOptions: what no key can be is refused before anything is written.
func TestCreateKeyOptions(t *testing.T) {
	k := kmstest.New(t)
	kit.Tenant(t, k, "acme", 0)
	before := kit.StoredItems(t, k)
	for name, row := range map[string]struct {
		opts kms.CreateKeyOptions
		want string
	}{
		"a spec that there is not":      {kms.CreateKeyOptions{Spec: "AES_512"}, "ErrUnsupported"},
		"a usage that there is not":     {kms.CreateKeyOptions{Usage: "LOOK_AT"}, "ErrUnsupported"},
		"an origin that there is not":   {kms.CreateKeyOptions{Origin: "Mars"}, "ErrUnsupported"},
		"hardware that there is not":    {kms.CreateKeyOptions{Protection: kms.ProtectionHSM}, "ErrUnsupported"},
		"hardware in software's place":  {kms.CreateKeyOptions{Instance: "acme", Protection: kms.ProtectionHSM}, "ErrUnsupported"},
		"an instance that there is not": {kms.CreateKeyOptions{Instance: "nobody"}, "ErrNotFound"},
		"an instance that cannot be":    {kms.CreateKeyOptions{Instance: "No Body"}, "ErrInvalid"},
	} {
		require.Equal(t, []string{row.want}, kit.Conditions(kit.Err(k.CreateKey(t.Context(), &row.opts))), name)
	}
	require.Equal(t, before, kit.StoredItems(t, k))
}

// TestWrapTooMuch: material that does not fit into the wrapping is refused, and not a byte of it told.
func TestWrapTooMuch(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	require.NoError(t, err)
	p := kms.ImportParameters{Algorithm: kms.WrapOAEP, PublicKey: der}
	const most = 2048/8 - 2*32 - 2 // RFC 8017, section 7.1.1
	for size, want := range map[int][]string{32: nil, most: nil, most + 1: {"ErrInvalid"}} {
		wrapped, err := kms.WrapForImport(p, bytes.Repeat([]byte("s"), size))
		require.Equal(t, want, kit.Conditions(err), size)
		require.Equal(t, err != nil, wrapped == nil)
		if err != nil {
			require.NotContains(t, err.Error(), "ss")
		}
	}
}

// TestMLDSAPublicKeysCompare: a key equals itself and no other, of its kind or of another.
func TestMLDSAPublicKeysCompare(t *testing.T) {
	one, same, other := kms.MLDSAPublicKey("one"), kms.MLDSAPublicKey("one"), kms.MLDSAPublicKey("other")
	require.True(t, one.Equal(same))
	require.False(t, one.Equal(other))
	require.False(t, one.Equal([]byte("one")))
	require.False(t, one.Equal(nil))
}
