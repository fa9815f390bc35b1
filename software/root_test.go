package software_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/software"
)

func newRoot(t testing.TB) *software.Root {
	t.Helper()
	r, err := software.NewRoot(randomBytes(t, 32))
	require.NoError(t, err)
	return r
}

func TestNewRootRefuses(t *testing.T) {
	t.Parallel()
	for _, key := range [][]byte{
		nil, {}, make([]byte, 16), make([]byte, 32), bytes.Repeat([]byte{0xff}, 32),
		randomBytes(t, 31), randomBytes(t, 33), randomBytes(t, 64),
	} {
		r, err := software.NewRoot(key)
		require.ErrorIs(t, err, software.ErrRootKey)
		require.Nil(t, r)
	}
}

func TestNewRootCopies(t *testing.T) {
	t.Parallel()
	key := randomBytes(t, 32)
	r, err := software.NewRoot(key)
	require.NoError(t, err)
	sealed, err := r.Encrypt([]byte("plaintext"), nil)
	require.NoError(t, err)
	clear(key)
	opened, err := r.Decrypt(sealed, nil)
	require.NoError(t, err)
	require.Equal(t, "plaintext", string(opened))
}

// TestRoots: what holds for every root, whatever its key comes from.
func TestRoots(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func() *software.Root{
		"key":        func() *software.Root { return newRoot(t) },
		"passphrase": func() *software.Root { return software.NewRootDerivedBy(cheaply(randomBytes(t, 32))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, other, ad := make(), make(), []byte("associated data")
			for _, n := range []int{0, 1, 32, 1000, 100_000} {
				plaintext := randomBytes(t, n)
				sealed, err := r.Encrypt(plaintext, ad)
				require.NoError(t, err)
				require.LessOrEqual(t, len(sealed), n+89)
				opened, err := r.Decrypt(sealed, ad)
				require.NoError(t, err)
				require.True(t, bytes.Equal(plaintext, opened))
			}

			sealed, err := r.Encrypt([]byte("plaintext"), ad)
			require.NoError(t, err)
			again, err := r.Encrypt([]byte("plaintext"), ad)
			require.NoError(t, err)
			require.NotEqual(t, sealed, again)
			refuse := func(r *software.Root, sealed, ad []byte) {
				t.Helper()
				opened, err := r.Decrypt(sealed, ad)
				require.ErrorIs(t, err, software.ErrRootCiphertext)
				require.Nil(t, opened)
			}
			for bit := range len(sealed) * 8 {
				flipped := bytes.Clone(sealed)
				flipped[bit/8] ^= 1 << (bit % 8)
				refuse(r, flipped, ad)
			}
			for n := range sealed {
				refuse(r, sealed[:n], ad)
				refuse(r, sealed[n+1:], ad)
			}
			refuse(r, append(bytes.Clone(sealed), 0), ad)
			refuse(r, nil, ad)
			refuse(r, sealed, nil)
			refuse(other, sealed, ad)
		})
	}
}

// FuzzRootOpen: no bytes make a root panic, and nothing opens but what was sealed.
func FuzzRootOpen(f *testing.F) {
	key := bytes.Repeat([]byte{1, 2}, 16)
	byKey, err := software.NewRoot(key)
	require.NoError(f, err)
	roots := []*software.Root{byKey, software.NewRootDerivedBy(cheaply(key))}
	f.Fuzz(func(t *testing.T, noise, plaintext, ad []byte, at uint16) {
		for _, r := range roots {
			opened, err := r.Decrypt(noise, ad)
			if err != nil {
				require.ErrorIs(t, err, software.ErrRootCiphertext)
				require.Nil(t, opened)
			}

			sealed, err := r.Encrypt(plaintext, ad)
			require.NoError(t, err)
			opened, err = r.Decrypt(sealed, ad)
			require.NoError(t, err)
			require.True(t, bytes.Equal(plaintext, opened))

			i := int(at) % (len(sealed) + 1)
			mutated := append(append(bytes.Clone(sealed[:i]), noise...), sealed[min(i+len(noise), len(sealed)):]...)
			if bytes.Equal(mutated, sealed) {
				continue
			}
			opened, err = r.Decrypt(mutated, ad)
			require.ErrorIs(t, err, software.ErrRootCiphertext)
			require.Nil(t, opened)
		}
	})
}
