//go:build cgo

package hsm_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
	mathrand "math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/internal/campaign"
)

// TestUnpadOAEP: what the padding check takes and refuses, the standard library takes and refuses,
// for padded blocks that are sound, changed in one place, and random.
func TestUnpadOAEP(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	size := key.Size()
	bare := func(in []byte, e *big.Int) []byte {
		return new(big.Int).Exp(new(big.Int).SetBytes(in), e, key.N).FillBytes(make([]byte, size))
	}
	same := func(padded []byte) bool {
		t.Helper()
		want, err := rsa.DecryptOAEP(sha256.New(), nil, key, bare(padded, big.NewInt(int64(key.E))), nil)
		got, ok := hsm.UnpadOAEP(padded, size)
		require.Equal(t, err == nil, ok)
		require.True(t, bytes.Equal(want, got))
		return ok
	}
	rounds := campaign.Size(300, 20_000)
	taken := 0
	for n := range rounds {
		message := random(mathrand.IntN(191))
		sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, message, nil)
		require.NoError(t, err)
		padded := bare(sealed, key.D)
		require.True(t, same(padded))
		got, _ := hsm.UnpadOAEP(padded, size)
		require.True(t, bytes.Equal(message, got))

		changed := bytes.Clone(padded)
		changed[mathrand.IntN(size-1)+1] ^= byte(1 << mathrand.IntN(8))
		if same(changed) {
			taken++
		}
		if n%10 == 0 {
			noise := random(size)
			noise[0] = 0
			require.False(t, same(noise))
		}
		first := bytes.Clone(padded)
		first[0] = 1
		_, ok := hsm.UnpadOAEP(first, size)
		require.False(t, ok)
	}
	require.Zero(t, taken, "no byte can be changed: the masks spread it")
	for _, bad := range [][]byte{nil, {0}, make([]byte, size-1), make([]byte, size), make([]byte, size+1)} {
		_, ok := hsm.UnpadOAEP(bad, size)
		require.False(t, ok)
	}
	_, ok := hsm.UnpadOAEP(make([]byte, 65), 65)
	require.False(t, ok)
}

// FuzzReference: material that is taken is what would be written.
func FuzzReference(f *testing.F) {
	f.Add([]byte{1})
	f.Add(make([]byte, 65))
	f.Add(reference([]byte("AES_256"), []byte("ENCRYPT"), []byte("id/1"), nil))
	f.Add(reference([]byte("EC_P256"), []byte("SIGN"), []byte("id/1"), []byte("public"), []byte("more")))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, in := range [][]byte{b, hashed(b)} {
			if again, err := hsm.ParseReference(in); err == nil {
				require.Equal(t, in, again)
			}
		}
	})
}

// reference is material as the documented format has it, with any fields.
func reference(fields ...[]byte) []byte {
	b := append([]byte{1}, make([]byte, 32)...)
	for _, field := range fields {
		b = append(append(b, 0, byte(len(field))), field...)
	}
	return hashed(b)
}

func hashed(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(bytes.Clone(b), sum[:]...)
}

// TestReference holds the format.
func TestReference(t *testing.T) {
	_, err := hsm.ParseReference(reference([]byte("AES_256"), []byte("ENCRYPT"), []byte("id/1"), nil))
	require.NoError(t, err)
	for _, bad := range [][]byte{
		nil, reference(), reference([]byte("AES_256"), []byte("ENCRYPT"), []byte("id/1")),
		reference([]byte("AES_256"), []byte("ENCRYPT"), []byte("id/1"), nil, nil),
		hashed(append([]byte{2}, reference([]byte("AES_256"), []byte("ENCRYPT"), []byte("id/1"), nil)[1:55]...)),
	} {
		_, err := hsm.ParseReference(bad)
		require.Error(t, err)
	}
}
