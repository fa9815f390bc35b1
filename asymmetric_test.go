package kms_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestAsymmetricEncrypt: round trips at the bounds, with whoever has the public key, and what
// is wrong with a ciphertext.
func TestAsymmetricEncrypt(t *testing.T) {
	for spec, most := range map[kms.Spec]int{kms.SpecRSA2048: 190, kms.SpecRSA3072: 318, kms.SpecRSA4096: 446} {
		t.Run(string(spec), func(t *testing.T) {
			t.Parallel()
			ctx, k := t.Context(), kmstest.New(t)
			id := kit.Key(t, k, spec, kms.UsageEncryptDecrypt)
			for _, n := range []int{0, 1, 32, most} {
				plain := bytes.Repeat([]byte{7}, n)
				c, err := k.AsymmetricEncrypt(ctx, id, plain)
				require.NoError(t, err)
				got, err := k.Another(t).AsymmetricDecrypt(ctx, id, c)
				require.NoError(t, err)
				require.True(t, bytes.Equal(plain, got))
			}
			require.Equal(t, []string{"ErrInvalid"}, kit.Conditions(kit.Err(k.AsymmetricEncrypt(ctx, id, make([]byte, most+1)))))
		})
	}
}

func TestAsymmetricDecrypt(t *testing.T) {
	ctx, k := t.Context(), kmstest.New(t)
	id := kit.Key(t, k, kms.SpecRSA2048, kms.UsageEncryptDecrypt)
	p, err := k.GetPublicKey(ctx, id)
	require.NoError(t, err)
	public := p.Key().(*rsa.PublicKey)
	c, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, []byte("theirs"), nil)
	require.NoError(t, err)
	got, err := k.AsymmetricDecrypt(ctx, id, c)
	require.NoError(t, err)
	require.Equal(t, "theirs", string(got))

	d, err := k.Decrypter(ctx, id)
	require.NoError(t, err)
	require.True(t, public.Equal(d.Public()))
	got, err = d.Decrypt(nil, c, &rsa.OAEPOptions{Hash: crypto.SHA256})
	require.NoError(t, err)
	require.Equal(t, "theirs", string(got))
	for _, o := range []crypto.DecrypterOpts{nil, &rsa.OAEPOptions{}, &rsa.OAEPOptions{Hash: crypto.SHA512}, "RSAES_PKCS1_V1_5",
		&rsa.OAEPOptions{Hash: crypto.SHA256, MGFHash: crypto.SHA512}, &rsa.OAEPOptions{Hash: crypto.SHA256, Label: []byte("x")}} {
		require.Equal(t, []string{"ErrUnsupported"}, kit.Conditions(kit.Err(d.Decrypt(nil, c, o))))
	}

	labelled, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, []byte("theirs"), []byte("label"))
	require.NoError(t, err)
	other, err := rsa.EncryptOAEP(sha512.New(), rand.Reader, public, []byte("theirs"), nil)
	require.NoError(t, err)
	bad := [][]byte{nil, {}, {0}, labelled, other, c[1:], c[:255], append(bytes.Clone(c), 0), bytes.Repeat([]byte{255}, 256), make([]byte, 256)}
	for at := range c {
		flipped := bytes.Clone(c)
		flipped[at] ^= 1
		bad = append(bad, flipped)
	}
	text := k.AsymmetricDecrypt
	want := kit.Err(text(ctx, id, nil)).Error()
	for _, bad := range bad {
		err := kit.Err(text(ctx, id, bad))
		require.Equal(t, []string{"ErrCiphertext"}, kit.Conditions(err))
		require.Equal(t, want, err.Error(), "the text tells why")
	}
}
