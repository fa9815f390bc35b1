package kms_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"slices"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestSignVerify: every algorithm of every spec that signs, by message and by digest, and what
// is wrong with a signature.
func TestSignVerify(t *testing.T) {
	for _, spec := range kms.Specs() {
		if kms.Uses(spec)[0] != kms.UsageSignVerify {
			continue
		}
		t.Run(string(spec), func(t *testing.T) {
			t.Parallel()
			k := kmstest.New(t)
			id := kit.Key(t, k, spec, "")
			tried := 0
			for _, alg := range kms.Algorithms() {
				if slices.Contains(kms.SpecsOf(alg), spec) {
					tried++
					signAndVerify(t, k, id, alg)
					continue
				}
				require.Equal(t, []string{"ErrUsage"}, kit.Conditions(kit.Err(k.Sign(t.Context(), id, alg, nil))), alg)
				require.Equal(t, []string{"ErrUsage"}, kit.Conditions(k.Verify(t.Context(), id, alg, nil, nil)), alg)
			}
			require.NotZero(t, tried)
		})
	}
}

func signAndVerify(t *testing.T, k *kmstest.KMS, id string, alg kms.SigningAlgorithm) {
	ctx, other := t.Context(), k.Another(t)
	for _, message := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("long"), 10_000)} {
		made, err := k.Sign(ctx, id, alg, message)
		require.NoError(t, err)
		require.NoError(t, other.Verify(ctx, id, alg, message, made), alg)
		require.ErrorIs(t, k.Verify(ctx, id, alg, append([]byte("y"), message...), made), kms.ErrSignature)
		hash, _ := alg.Hash()
		if hash == 0 {
			require.ErrorIs(t, kit.Err(k.SignDigest(ctx, id, alg, message)), kms.ErrInvalid)
			continue
		}
		h := hash.New()
		h.Write(message)
		digest := h.Sum(nil)
		require.NoError(t, k.VerifyDigest(ctx, id, alg, digest, made))
		made, err = k.SignDigest(ctx, id, alg, digest)
		require.NoError(t, err)
		require.NoError(t, k.Verify(ctx, id, alg, message, made))
		require.ErrorIs(t, kit.Err(k.SignDigest(ctx, id, alg, digest[1:])), kms.ErrInvalid)
	}
	made, err := k.Sign(ctx, id, alg, []byte("x"))
	require.NoError(t, err)
	bad := [][]byte{nil, {}, {0}, append(bytes.Clone(made), 0), append([]byte{0}, made...), make([]byte, len(made))}
	for at := 0; at < len(made); at += max(1, len(made)/100) {
		flipped := bytes.Clone(made)
		flipped[at] ^= 1
		bad = append(bad, flipped, made[:at])
	}
	for i, bad := range bad {
		err := k.Verify(ctx, id, alg, []byte("x"), bad)
		require.Equal(t, []string{"ErrSignature"}, kit.Conditions(err), "%s, bad signature %d", alg, i)
	}
}

// TestSignBounds: what is no algorithm, and what is too long, before anything is read.
func TestSignBounds(t *testing.T) {
	ctx, k := t.Context(), kmstest.New(t)
	calls := k.Store.Calls()
	const id = "01890000-0000-7000-8000-000000000000"
	long := make([]byte, kms.MaxMessage+1)
	for _, err := range []error{
		kit.Err(k.Sign(ctx, id, "", nil)), kit.Err(k.Sign(ctx, id, "RSA_PSS_SHA_1", nil)),
		kit.Err(k.Sign(ctx, id, kms.SignEd25519, long)), kit.Err(k.Sign(ctx, id, kms.SignMLDSA65, long)),
		k.Verify(ctx, id, "", nil, nil), k.Verify(ctx, id, kms.SignEd25519, long, nil),
		kit.Err(k.SignDigest(ctx, id, "", nil)), kit.Err(k.SignDigest(ctx, id, kms.SignECDSASHA256, make([]byte, 31))),
		k.VerifyDigest(ctx, id, kms.SignECDSASHA256, nil, nil),
		kit.Err(k.GenerateMac(ctx, id, "", nil)), kit.Err(k.GenerateMac(ctx, id, kms.MacHMACSHA256, long)),
		k.VerifyMac(ctx, id, "HMAC_SHA_1", nil, nil),
	} {
		require.Equal(t, []string{"ErrInvalid"}, kit.Conditions(err))
	}
	require.Equal(t, calls, k.Store.Calls())
	ed := kit.Key(t, k, kms.SpecEd25519, "")
	require.NoError(t, kit.Err(k.Sign(ctx, ed, kms.SignEd25519, long[1:])))
	require.NoError(t, kit.Err(k.Sign(ctx, kit.Key(t, k, kms.SpecECP256, ""), kms.SignECDSASHA256, long)))
}

// TestMac: every spec, with what is wrong with a MAC.
func TestMac(t *testing.T) {
	ctx, k := t.Context(), kmstest.New(t)
	of := map[kms.MacAlgorithm]kms.Spec{kms.MacHMACSHA256: kms.SpecHMAC256, kms.MacHMACSHA384: kms.SpecHMAC384, kms.MacHMACSHA512: kms.SpecHMAC512}
	size := map[kms.MacAlgorithm]int{kms.MacHMACSHA256: 32, kms.MacHMACSHA384: 48, kms.MacHMACSHA512: 64}
	for alg, spec := range of {
		id := kit.Key(t, k, spec, kms.UsageGenerateVerifyMac)
		for _, message := range [][]byte{nil, []byte("x"), make([]byte, kms.MaxMessage)} {
			mac, err := k.GenerateMac(ctx, id, alg, message)
			require.NoError(t, err)
			require.Len(t, mac, size[alg])
			require.NoError(t, k.Another(t).VerifyMac(ctx, id, alg, message, mac))
			again, err := k.GenerateMac(ctx, id, alg, message)
			require.NoError(t, err)
			require.Equal(t, mac, again)
			for n := range mac {
				flipped := bytes.Clone(mac)
				flipped[n] ^= 1
				for _, bad := range [][]byte{mac[:n], mac[n+1:], flipped, append(bytes.Clone(mac), 0), nil} {
					require.Equal(t, []string{"ErrSignature"}, kit.Conditions(k.VerifyMac(ctx, id, alg, message, bad)))
				}
			}
			require.ErrorIs(t, k.VerifyMac(ctx, kit.Key(t, k, spec, ""), alg, message, mac), kms.ErrSignature)
		}
		for other, otherSpec := range of {
			if otherSpec != spec {
				require.Equal(t, []string{"ErrUsage"}, kit.Conditions(kit.Err(k.GenerateMac(ctx, id, other, nil))))
			}
		}
	}
}

// TestUsages: which usages a spec may have, and which it has if none is asked for.
func TestUsages(t *testing.T) {
	usages := []kms.Usage{kms.UsageEncryptDecrypt, kms.UsageSignVerify, kms.UsageGenerateVerifyMac, "KEY_AGREEMENT"}
	want := map[kms.Spec][]kms.Usage{
		kms.SpecAES256: {kms.UsageEncryptDecrypt}, kms.SpecAES192: {kms.UsageEncryptDecrypt}, kms.SpecAES128: {kms.UsageEncryptDecrypt},
		kms.SpecRSA2048: {kms.UsageSignVerify, kms.UsageEncryptDecrypt}, kms.SpecRSA3072: {kms.UsageSignVerify, kms.UsageEncryptDecrypt},
		kms.SpecRSA4096: {kms.UsageSignVerify, kms.UsageEncryptDecrypt},
		kms.SpecECP256:  {kms.UsageSignVerify}, kms.SpecECP384: {kms.UsageSignVerify}, kms.SpecEd25519: {kms.UsageSignVerify}, kms.SpecMLDSA65: {kms.UsageSignVerify},
		kms.SpecHMAC256: {kms.UsageGenerateVerifyMac}, kms.SpecHMAC384: {kms.UsageGenerateVerifyMac}, kms.SpecHMAC512: {kms.UsageGenerateVerifyMac},
	}
	require.Len(t, kms.Specs(), len(want))
	ctx, k := t.Context(), kmstest.New(t)
	for spec, allowed := range want {
		require.Equal(t, allowed, kms.Uses(spec))
		for _, usage := range usages {
			o := &kms.CreateKeyOptions{Spec: spec, Usage: usage, Origin: kms.OriginExternal} // which makes no key
			key, err := k.CreateKey(ctx, o)
			if spec == kms.SpecMLDSA65 || spec == kms.SpecAES192 || spec == kms.SpecAES128 || !slices.Contains(allowed, usage) {
				require.Equal(t, []string{"ErrUnsupported"}, kit.Conditions(err), fmt.Sprint(spec, usage))
				continue
			}
			require.NoError(t, err)
			require.Equal(t, usage, key.Usage)
			require.Equal(t, spec, key.Spec)
		}
	}
	require.ErrorIs(t, kit.Err(k.CreateKey(ctx, &kms.CreateKeyOptions{Spec: "EC_P521"})), kms.ErrUnsupported)
	for _, spec := range []kms.Spec{kms.SpecECP256, kms.SpecHMAC512} {
		key, err := k.CreateKey(ctx, &kms.CreateKeyOptions{Spec: spec})
		require.NoError(t, err)
		require.Equal(t, want[spec][0], key.Usage)
	}
}

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
		require.Equal(t, []string{"ErrUsage"}, kit.Conditions(kit.Err(d.Decrypt(nil, c, o))))
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
