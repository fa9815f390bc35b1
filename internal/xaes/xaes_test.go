package xaes_test

import (
	"bytes"
	"crypto/rand"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/xaes"
)

func newKey(t testing.TB) *xaes.Key {
	t.Helper()
	k, err := xaes.New(randomBytes(t, xaes.KeySize))
	require.NoError(t, err)
	return k
}

func randomBytes(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := rand.Read(b)
	require.NoError(t, err)
	return b
}

func TestNewRefusesOtherSizes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 16, 24, 31, 33, 64} {
		k, err := xaes.New(make([]byte, n))
		require.ErrorIs(t, err, xaes.ErrKeySize)
		require.Nil(t, k)
	}
}

func TestNewKeepsNoReference(t *testing.T) {
	t.Parallel()
	raw := randomBytes(t, xaes.KeySize)
	k, err := xaes.New(raw)
	require.NoError(t, err)
	sealed := k.Seal(nil, []byte("plaintext"), nil)
	clear(raw)
	opened, err := k.Open(nil, sealed, nil)
	require.NoError(t, err)
	require.Equal(t, "plaintext", string(opened))
}

func TestEveryLength(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	for n := range 300 {
		plaintext, ad := randomBytes(t, n), randomBytes(t, n/2)
		sealed := k.Seal(nil, plaintext, ad)
		require.Len(t, sealed, n+xaes.Overhead)
		opened, err := k.Open(nil, sealed, ad)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plaintext, opened))
	}
}

func TestAppendsToDst(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	for _, spare := range []int{0, 1, xaes.Overhead, 4096} {
		dst := append(make([]byte, 0, 6+spare), "prefix"...)
		sealed := k.Seal(dst, []byte("plaintext"), nil)
		require.Equal(t, "prefix", string(sealed[:6]))
		opened, err := k.Open(dst, sealed[6:], nil)
		if spare >= xaes.Overhead+9 {
			// The result of Seal lies in dst, and so does not survive Open into dst.
			require.Same(t, &dst[0], &sealed[0])
			sealed = k.Seal([]byte("prefix"), []byte("plaintext"), nil)
			opened, err = k.Open(dst, sealed[6:], nil)
		}
		require.NoError(t, err)
		require.Equal(t, "prefixplaintext", string(opened))
	}
}

func TestSealsInPlace(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	buf := append(make([]byte, 0, 100), "prefix"...)
	plaintext := append(buf[:6+xaes.PlaintextAt], "plaintext"...)[6+xaes.PlaintextAt:]
	sealed := k.Seal(buf, plaintext, []byte("ad"))
	require.Same(t, &buf[0], &sealed[0])
	opened, err := k.Open(nil, sealed[6:], []byte("ad"))
	require.NoError(t, err)
	require.Equal(t, "plaintext", string(opened))
}

// TestSealRandom: what comes back is zeros and the key that was filled in, behind what was in
// dst; and no two keys are alike.
func TestSealRandom(t *testing.T) {
	t.Parallel()
	k, ad := newKey(t), []byte("ad")
	for _, zeros := range []int{0, 1, 11, 12, 32} {
		for _, n := range []int{0, 1, 32, 1024} {
			for _, spare := range []int{0, 1, 4096} {
				key, again := make([]byte, n), make([]byte, n)
				sealed := k.SealRandom(append(make([]byte, 0, 6+spare), "prefix"...), key, zeros, ad)
				require.Equal(t, "prefix", string(sealed[:6]))
				require.Len(t, sealed, 6+xaes.Overhead+zeros+n)
				opened, err := k.Open(nil, sealed[6:], ad)
				require.NoError(t, err)
				require.True(t, bytes.Equal(append(make([]byte, zeros), key...), opened))
				k.SealRandom(nil, again, zeros, ad)
				if n >= 32 {
					require.NotEqual(t, key, again)
					require.NotEqual(t, make([]byte, n), key)
				}
			}
		}
	}
}

// TestKeptKeysAreFew: of messages of any number of salts, and from any number of goroutines,
// a Key keeps one message key to seal and two to open; of forged messages it keeps none, and of
// a salt that was met once it keeps none either.
func TestKeptKeysAreFew(t *testing.T) {
	t.Parallel()
	raw := randomBytes(t, xaes.KeySize)
	k, err := xaes.New(raw)
	require.NoError(t, err)
	kept := func(wantSealers, wantOpeners int) {
		t.Helper()
		sealers, openers := k.Kept()
		require.Equal(t, wantSealers, sealers)
		require.Equal(t, wantOpeners, openers)
	}
	for range 100 {
		forged := randomBytes(t, 100)
		_, err := k.Open(nil, forged, nil)
		require.ErrorIs(t, err, xaes.ErrOpen)
	}
	kept(0, 0)
	open := func(sealed []byte) {
		_, err := k.Open(nil, sealed, nil)
		require.NoError(t, err)
	}
	first, second := k.Seal(nil, nil, nil), k.Seal(nil, nil, nil)
	require.NotEqual(t, first[:xaes.SaltSize], second[:xaes.SaltSize])
	kept(1, 0)
	open(first)
	open(second)
	kept(1, 0)
	open(second)
	kept(1, 1)

	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 100 {
				other, _ := xaes.New(raw)
				sealed := other.Seal(nil, nil, nil)
				for range 3 {
					_, _ = k.Open(nil, sealed, nil)
				}
				k.Seal(nil, nil, nil)
			}
		})
	}
	all.Wait()
	sealers, openers := k.Kept()
	require.Equal(t, 1, sealers)
	require.LessOrEqual(t, openers, 2)
	require.NotZero(t, openers)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	k, ad := newKey(t), []byte("associated data")
	sealed := k.Seal(nil, []byte("plaintext"), ad)
	refuse := func(k *xaes.Key, ciphertext, ad []byte) {
		t.Helper()
		opened, err := k.Open(nil, ciphertext, ad)
		require.ErrorIs(t, err, xaes.ErrOpen)
		require.Nil(t, opened)
	}
	for bit := range len(sealed) * 8 {
		flipped := bytes.Clone(sealed)
		flipped[bit/8] ^= 1 << (bit % 8)
		refuse(k, flipped, ad)
	}
	for n := range sealed {
		refuse(k, sealed[:n], ad)
		refuse(k, sealed[n+1:], ad)
	}
	refuse(k, append(bytes.Clone(sealed), 0), ad)
	refuse(k, sealed, nil)
	refuse(k, sealed, ad[:len(ad)-1])
	refuse(newKey(t), sealed, ad)
}

// TestNoncesDiffer: no nonce comes twice, also from many goroutines, and no salt serves more
// than 1024 messages.
func TestNoncesDiffer(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	const goroutines, n = 4, 5000
	salts, ivs := map[string]int{}, map[string]bool{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for i := range n {
				var sealed []byte
				if i%2 == 0 {
					sealed = k.Seal(nil, nil, nil)
				} else {
					sealed = k.SealRandom(nil, nil, 32, nil)
				}
				mu.Lock()
				salts[string(sealed[:12])]++
				ivs[string(sealed[12:24])] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	require.Len(t, ivs, goroutines*n)
	require.GreaterOrEqual(t, len(salts), goroutines*n/1024)
	for _, messages := range salts {
		require.LessOrEqual(t, messages, 1024)
	}
}

func TestAllocations(t *testing.T) {
	k, ad := newKey(t), []byte("associated data")
	plaintext := make([]byte, 1024)
	sealed := k.Seal(nil, plaintext, ad)
	dst := make([]byte, 0, 2048)
	// Open has the message's AES and its GCM; Seal has them once for many messages. The
	// race detector makes pools forget, which is one or two more.
	const want = 3
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { k.Seal(dst, plaintext, ad) }), float64(want))
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = k.Open(dst, sealed, ad) }), float64(want))
}
