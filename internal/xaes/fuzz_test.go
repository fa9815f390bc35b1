package xaes_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/xaes"
)

// FuzzOpen: no input makes Open panic, and no ciphertext opens that differs from what was
// sealed.
func FuzzOpen(f *testing.F) {
	k, err := xaes.New(bytes.Repeat([]byte{7}, xaes.KeySize))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, plaintext, ad, noise []byte, at uint16) {
		_, err := k.Open(nil, noise, ad)
		require.ErrorIs(t, err, xaes.ErrOpen)

		sealed := k.Seal(nil, plaintext, ad)
		opened, err := k.Open(nil, sealed, ad)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plaintext, opened))

		// The noise replaces what stands at a position, and cuts off or extends.
		i := int(at) % (len(sealed) + 1)
		for _, mutated := range [][]byte{
			append(bytes.Clone(sealed[:i]), noise...),
			append(append(bytes.Clone(sealed[:i]), noise...), sealed[min(i+len(noise), len(sealed)):]...),
			append(append(bytes.Clone(sealed[:i]), noise...), sealed[i:]...),
		} {
			opened, err := k.Open(nil, mutated, ad)
			if bytes.Equal(mutated, sealed) {
				require.NoError(t, err)
				continue
			}
			require.ErrorIs(t, err, xaes.ErrOpen)
			require.Nil(t, opened)
		}
	})
}
