package kwp_test

import (
	"bytes"
	"crypto/aes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/kwp"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func refused(t testing.TB, kek, wrapped []byte) {
	t.Helper()
	plaintext, err := kwp.Unwrap(kek, wrapped)
	require.ErrorIs(t, err, kwp.ErrUnwrap)
	require.Nil(t, plaintext)
}

// TestVectors are the two of RFC 5649, section 6.
func TestVectors(t *testing.T) {
	t.Parallel()
	kek := unhex(t, "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	for plain, want := range map[string]string{
		"c37b7e6492584340bed12207808941155068f738": "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
		"466f7250617369": "afbeb0f07dfbf5419200f2ccb50bb24f",
	} {
		wrapped, err := kwp.Wrap(kek, unhex(t, plain))
		require.NoError(t, err)
		require.Equal(t, want, hex.EncodeToString(wrapped))
		opened, err := kwp.Unwrap(kek, wrapped)
		require.NoError(t, err)
		require.Equal(t, plain, hex.EncodeToString(opened))
	}
}

// TestEveryLength: with each size of key, up to the longest.
func TestEveryLength(t *testing.T) {
	t.Parallel()
	for _, size := range []int{16, 24, 32} {
		kek := randomBytes(size)
		for n := 1; n <= kwp.MaxSize; n += 1 + n/64*37 {
			plaintext := randomBytes(n)
			kept := bytes.Clone(plaintext)
			wrapped, err := kwp.Wrap(kek, plaintext)
			require.NoError(t, err)
			require.Len(t, wrapped, (n+7)/8*8+8)
			require.Equal(t, kept, plaintext)
			kept = bytes.Clone(wrapped)
			opened, err := kwp.Unwrap(kek, wrapped)
			require.NoError(t, err)
			require.True(t, bytes.Equal(plaintext, opened))
			require.Equal(t, kept, wrapped)
		}
		longest := randomBytes(kwp.MaxSize)
		wrapped, err := kwp.Wrap(kek, longest)
		require.NoError(t, err)
		opened, err := kwp.Unwrap(kek, wrapped)
		require.NoError(t, err)
		require.True(t, bytes.Equal(longest, opened))
		refused(t, kek, append(wrapped, make([]byte, 8)...))
	}
}

func TestSizesRefused(t *testing.T) {
	t.Parallel()
	for n := range 65 {
		if n == 16 || n == 24 || n == 32 {
			continue
		}
		_, err := kwp.Wrap(make([]byte, n), []byte("x"))
		require.ErrorIs(t, err, kwp.ErrSize)
		_, err = kwp.Unwrap(make([]byte, n), make([]byte, 16))
		require.ErrorIs(t, err, kwp.ErrSize)
	}
	kek := randomBytes(32)
	for _, n := range []int{0, kwp.MaxSize + 1, 1 << 20} {
		_, err := kwp.Wrap(kek, make([]byte, n))
		require.ErrorIs(t, err, kwp.ErrSize)
	}
	for n := range 64 {
		refused(t, kek, make([]byte, n))
	}
}

// TestEveryBit: every flipped bit, every truncation at either end and every other key is
// refused.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 64} {
		kek := randomBytes(32)
		wrapped, err := kwp.Wrap(kek, randomBytes(n))
		require.NoError(t, err)
		for bit := range len(wrapped) * 8 {
			flipped := bytes.Clone(wrapped)
			flipped[bit/8] ^= 1 << (bit % 8)
			refused(t, kek, flipped)
		}
		for i := range wrapped {
			refused(t, kek, wrapped[:i])
			refused(t, kek, wrapped[i+1:])
		}
		for bit := range 256 {
			other := bytes.Clone(kek)
			other[bit/8] ^= 1 << (bit % 8)
			refused(t, other, wrapped)
		}
	}
}

// TestHeader: under the cipher stands exactly the prefix, the length and zeros. All that
// somebody with the key could put there instead is refused: every bit of the prefix, every
// length but the right one, and every byte of padding that is not zero. One block is enough
// to say it, where the wrapping is plain AES.
func TestHeader(t *testing.T) {
	t.Parallel()
	kek := randomBytes(32)
	block, err := aes.NewCipher(kek)
	require.NoError(t, err)
	seal := func(b [16]byte) []byte {
		block.Encrypt(b[:], b[:])
		return b[:]
	}
	lengths := []uint32{9, 16, 255, 256, 1 << 16, 1 << 24, 1<<31 - 1, 1 << 31, 1<<31 + 1, 1<<32 - 8, 1<<32 - 7, 1<<32 - 1}
	for n := range uint32(9) {
		lengths = append(lengths, n, n<<8, n<<24, 1<<31|n)
	}
	for n := 1; n <= 8; n++ {
		var b [16]byte
		binary.BigEndian.PutUint32(b[:], 0xA65959A6)
		binary.BigEndian.PutUint32(b[4:], uint32(n))
		b[8+n-1] = 0xff
		opened, err := kwp.Unwrap(kek, seal(b))
		require.NoError(t, err)
		require.Equal(t, b[8:8+n], opened)
		for bit := range 32 {
			bad := b
			bad[bit/8] ^= 1 << (bit % 8)
			refused(t, kek, seal(bad))
		}
		for at := 8 + n; at < 16; at++ {
			for x := 1; x < 256; x++ {
				bad := b
				bad[at] = byte(x)
				refused(t, kek, seal(bad))
			}
		}
		for _, length := range lengths {
			bad := b
			binary.BigEndian.PutUint32(bad[4:], length)
			if int64(length) >= int64(n) && length <= 8 {
				continue // a longer plaintext of zeros at its end: another one, and good
			}
			refused(t, kek, seal(bad))
		}
	}
}

// TestAllocations: what is too long, or of no length that could be, costs the cipher and
// nothing by its length.
func TestAllocations(t *testing.T) {
	kek := randomBytes(32)
	for _, n := range []int{kwp.MaxSize + 16, 1 << 24, 1<<24 + 1} {
		long := make([]byte, n)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 10 {
			refused(t, kek, long)
			_, err := kwp.Wrap(kek, long)
			require.ErrorIs(t, err, kwp.ErrSize)
		}
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<10), n)
	}
}
