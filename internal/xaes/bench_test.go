package xaes_test

import (
	"crypto/aes"
	"crypto/cipher"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/xaes"
)

var benchmarkSizes = []int{32, 1024, 4096}

// BenchmarkSeal compares this package with AES-GCM that has the key itself, and with
// Tink's XAES-256-GCM. All but Tink, which cannot, are given room for the result.
//
// "xaes" is what a message costs on average, with one derivation for many messages.
// "xaes-derived" is the first message of a Key, which has to derive, and the expansion of
// the Key; "expand" is that expansion alone, to be taken off.
func BenchmarkSeal(b *testing.B) {
	raw, ad := make([]byte, xaes.KeySize), make([]byte, 24)
	k, err := xaes.New(raw)
	require.NoError(b, err)
	block, err := aes.NewCipher(raw)
	require.NoError(b, err)
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(b, err)
	tinks := tinkAEAD(b, raw)
	for _, n := range benchmarkSizes {
		plaintext, dst := make([]byte, n), make([]byte, 0, n+xaes.Overhead)
		run := func(name string, seal func()) {
			b.Run(name+"/"+strconv.Itoa(n), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(n))
				for b.Loop() {
					seal()
				}
			})
		}
		run("xaes", func() { k.Seal(dst, plaintext, ad) })
		run("xaes-derived", func() {
			fresh, err := xaes.New(raw)
			if err != nil {
				b.Fatal(err)
			}
			fresh.Seal(dst, plaintext, ad)
		})
		run("expand", func() { _, _ = xaes.New(raw) })
		run("gcm", func() { gcm.Seal(dst, nil, plaintext, ad) })
		run("tink", func() { _, _ = tinks.Encrypt(plaintext, ad) })
	}
}

// BenchmarkOpen is BenchmarkSeal's other half.
func BenchmarkOpen(b *testing.B) {
	raw, ad := make([]byte, xaes.KeySize), make([]byte, 24)
	k, err := xaes.New(raw)
	require.NoError(b, err)
	block, err := aes.NewCipher(raw)
	require.NoError(b, err)
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(b, err)
	tinks := tinkAEAD(b, raw)
	for _, n := range benchmarkSizes {
		dst := make([]byte, 0, n)
		sealed, sealedGCM := k.Seal(nil, make([]byte, n), ad), gcm.Seal(nil, nil, make([]byte, n), ad)
		run := func(name string, open func() ([]byte, error)) {
			b.Run(name+"/"+strconv.Itoa(n), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(n))
				for b.Loop() {
					if _, err := open(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("xaes", func() ([]byte, error) { return k.Open(dst, sealed, ad) })
		run("gcm", func() ([]byte, error) { return gcm.Open(dst, nil, sealedGCM, ad) })
		run("tink", func() ([]byte, error) { return tinks.Decrypt(sealed, ad) })
	}
}
