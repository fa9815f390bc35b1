//go:build !cgo

package hsm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/provider"
)

// TestWithoutCgo: all is there, and says that it is not.
func TestWithoutCgo(t *testing.T) {
	ctx := t.Context()
	_, err := hsm.Open(ctx, hsm.Config{})
	require.ErrorIs(t, err, hsm.ErrConfig)
	_, err = hsm.Open(ctx, hsm.Config{Module: "m", TokenLabel: "kms", PIN: func() (string, error) { return "", nil }})
	require.ErrorIs(t, err, provider.ErrUnsupported)
	token, root := new(hsm.Token), new(hsm.Root)
	for _, call := range []func() error{
		func() error { _, err := token.Generate(ctx, "id", provider.AES256, provider.UseEncrypt); return err },
		func() error { _, err := token.Import(ctx, "id", provider.AES256, provider.UseEncrypt, nil); return err },
		func() error { _, err := token.Open(ctx, "id", provider.AES256, nil); return err },
		func() error { return token.Destroy(ctx, "id", nil) },
		func() error { _, err := token.Root(ctx, "root"); return err },
		func() error { _, err := token.CreateRoot(ctx, "root"); return err },
		func() error { _, err := token.Orphans(ctx, nil); return err },
		func() error { _, err := token.Health(ctx); return err },
		func() error { _, err := root.Encrypt(nil, nil); return err },
		func() error { _, err := root.Decrypt(nil, nil); return err },
	} {
		require.ErrorIs(t, call(), provider.ErrUnsupported)
	}
	require.NoError(t, token.Close())
}
