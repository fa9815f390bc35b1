package kwp_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/kwp/subtle"

	"github.com/keyhold/kms/internal/kwp"
)

// TestEqualsTink: over random inputs, of the sizes that Tink takes (keys of 16 and 32 bytes,
// plaintexts of 16 to 8192), both wrap to the same bytes and open each other's.
func TestEqualsTink(t *testing.T) {
	t.Parallel()
	const n = 3000
	r := rand.New(rand.NewPCG(5649, 1))
	for i := range n {
		kek := randomBytes(16 << r.IntN(2))
		theirs, err := subtle.NewKWP(kek)
		require.NoError(t, err)
		size := subtle.MinWrapSize + r.IntN(200)
		if i%50 == 0 {
			size = subtle.MinWrapSize + r.IntN(subtle.MaxWrapSize-subtle.MinWrapSize+1)
		}
		plaintext := randomBytes(size)
		ours, err := kwp.Wrap(kek, plaintext)
		require.NoError(t, err)
		wrapped, err := theirs.Wrap(plaintext)
		require.NoError(t, err)
		require.True(t, bytes.Equal(wrapped, ours))
		opened, err := kwp.Unwrap(kek, wrapped)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plaintext, opened))
		opened, err = theirs.Unwrap(ours)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plaintext, opened))

		// Damaged anywhere, neither opens it.
		ours[r.IntN(len(ours))] ^= 1 << r.IntN(8)
		refused(t, kek, ours)
		_, err = theirs.Unwrap(ours)
		require.Error(t, err)
	}
	require.Equal(t, kwp.MaxSize, subtle.MaxWrapSize)
}

// FuzzUnwrap: what Unwrap opens is exactly what Wrap makes, and Tink agrees where it takes
// the size.
func FuzzUnwrap(f *testing.F) {
	kek := []byte("0123456789abcdef0123456789ABCDEF")
	for _, n := range []int{1, 7, 8, 9, 16, 31, 32, 100} {
		for _, k := range [][]byte{kek, kek[:24], kek[:16]} {
			wrapped, err := kwp.Wrap(k, bytes.Repeat([]byte{byte(n)}, n))
			require.NoError(f, err)
			f.Add(k, wrapped)
			f.Add(k, wrapped[:len(wrapped)-1])
			f.Add(kek[1:17], wrapped)
		}
	}
	f.Add([]byte{}, []byte{})
	f.Add(kek, make([]byte, 16))
	f.Add(kek, make([]byte, kwp.MaxSize+16))
	f.Fuzz(func(t *testing.T, kek, b []byte) {
		plaintext, err := kwp.Unwrap(kek, b)
		if theirs, bad := subtle.NewKWP(kek); bad == nil && len(b) >= 24 {
			opened, refusal := theirs.Unwrap(b)
			if err == nil && len(plaintext) >= subtle.MinWrapSize || refusal == nil {
				require.NoError(t, err)
				require.NoError(t, refusal)
				require.Equal(t, opened, plaintext)
			}
		}
		if err == nil {
			again, err := kwp.Wrap(kek, plaintext)
			require.NoError(t, err)
			require.Equal(t, b, again)
		} else {
			require.Nil(t, plaintext)
		}
		// The other way: what is wrapped is opened.
		wrapped, err := kwp.Wrap(kek, b)
		if err != nil {
			require.ErrorIs(t, err, kwp.ErrSize)
			return
		}
		opened, err := kwp.Unwrap(kek, wrapped)
		require.NoError(t, err)
		require.Equal(t, b, opened)
	})
}
