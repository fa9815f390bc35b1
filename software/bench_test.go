package software_test

import (
	"crypto/aes"
	"crypto/cipher"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"

	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

// BenchmarkKey compares a software key with AES-GCM that has the key itself and with
// Tink's XAES-256-GCM, neither of which commits. All but Tink, which cannot, are given
// room for the result. Encrypt is an average: a message key is derived once for many
// messages. Decrypt derives it for each.
func BenchmarkKey(b *testing.B) {
	ctx, raw, ad := b.Context(), randomBytes(b, 32), make([]byte, 24)
	ks := xaesKeyset(b, raw, xaesgcm.VariantNoPrefix, 12)
	m, err := software.EncodeMaterial("id", ks)
	require.NoError(b, err)
	k, err := software.New().Open(ctx, "id", provider.AES256, m)
	require.NoError(b, err)
	block, err := aes.NewCipher(raw)
	require.NoError(b, err)
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(b, err)
	tinks := tinkAEAD(b, ks)

	for _, n := range []int{32, 1024, 4096} {
		plaintext, dst := make([]byte, n), make([]byte, 0, n+128)
		sealed, err := k.Encrypt(ctx, nil, plaintext, ad)
		require.NoError(b, err)
		sealedGCM := gcm.Seal(nil, nil, plaintext, ad)
		sealedTink, err := tinks.Encrypt(plaintext, ad)
		require.NoError(b, err)
		for _, c := range []struct {
			name string
			run  func() ([]byte, error)
		}{
			{"Encrypt/software", func() ([]byte, error) { return k.Encrypt(ctx, dst, plaintext, ad) }},
			{"Encrypt/gcm", func() ([]byte, error) { return gcm.Seal(dst, nil, plaintext, ad), nil }},
			{"Encrypt/tink", func() ([]byte, error) { return tinks.Encrypt(plaintext, ad) }},
			{"Decrypt/software", func() ([]byte, error) { return k.Decrypt(ctx, dst, sealed, ad) }},
			{"Decrypt/gcm", func() ([]byte, error) { return gcm.Open(dst, nil, sealedGCM, ad) }},
			{"Decrypt/tink", func() ([]byte, error) { return tinks.Decrypt(sealedTink, ad) }},
		} {
			b.Run(c.name+"/"+strconv.Itoa(n), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(n))
				for b.Loop() {
					if _, err := c.run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkKeyParallel is a key used from all cores at once, with 32 bytes.
func BenchmarkKeyParallel(b *testing.B) {
	ctx, k, ad := b.Context(), newKey(b), make([]byte, 24)
	plaintext := make([]byte, 32)
	b.RunParallel(func(pb *testing.PB) {
		dst := make([]byte, 0, 256)
		for pb.Next() {
			if _, err := k.Encrypt(ctx, dst, plaintext, ad); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkGenerateAndOpen is what a new key costs.
func BenchmarkGenerateAndOpen(b *testing.B) {
	ctx, p := b.Context(), software.New()
	for b.Loop() {
		m, err := p.Generate(ctx, "id", provider.AES256, provider.UseEncrypt)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Open(ctx, "id", provider.AES256, m); err != nil {
			b.Fatal(err)
		}
	}
}
