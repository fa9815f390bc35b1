package kms_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// ownKeys are private keys of an owner, for each spec that imports one.
var ownKeys = sync.OnceValue(func() map[kms.Spec]any {
	made := map[kms.Spec]any{}
	made[kms.SpecRSA2048], _ = rsa.GenerateKey(rand.Reader, 2048)
	made[kms.SpecRSA3072], _ = rsa.GenerateKey(rand.Reader, 3072)
	made[kms.SpecRSA4096], _ = rsa.GenerateKey(rand.Reader, 4096)
	made[kms.SpecECP256], _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	made[kms.SpecECP384], _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, made[kms.SpecEd25519], _ = ed25519.GenerateKey(rand.Reader)
	return made
})

func marshalPKCS8(t testing.TB, private any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return der
}

// importInto makes a key of imported material and imports it.
func importInto(t *testing.T, k *kmstest.KMS, spec kms.Spec, usage kms.Usage, material []byte) (string, error) {
	t.Helper()
	key, err := k.CreateKey(t.Context(), &kms.CreateKeyOptions{Spec: spec, Usage: usage, Origin: kms.OriginExternal})
	require.NoError(t, err)
	return key.ID, importAgain(t, k, key.ID, material)
}

func importAgain(t *testing.T, k *kmstest.KMS, id string, material []byte) error {
	t.Helper()
	p, err := k.GetParametersForImport(t.Context(), id, &kms.ImportOptions{Algorithm: kms.WrapAESKeyWrap})
	require.NoError(t, err)
	wrapped, err := kms.WrapForImport(p, material)
	require.NoError(t, err)
	return kit.Err(k.ImportKeyMaterial(t.Context(), id, wrapped, p.Token, time.Time{}))
}

// TestImportPrivateKeys: an imported private key is the owner's own: both sign alike, before
// it is deleted and after. The same key comes back, in whatever encoding; another does not.
func TestImportPrivateKeys(t *testing.T) {
	for spec, private := range ownKeys() {
		t.Run(string(spec), func(t *testing.T) {
			t.Parallel()
			ctx, k := t.Context(), kmstest.New(t)
			der := marshalPKCS8(t, private)
			id, err := importInto(t, k, spec, kms.UsageSignVerify, der)
			require.NoError(t, err)
			p, err := k.GetPublicKey(ctx, id)
			require.NoError(t, err)
			own := private.(crypto.Signer)
			require.Equal(t, own.Public(), p.Key())

			var hash crypto.Hash
			alg := map[kms.Spec]kms.SigningAlgorithm{kms.SpecECP256: kms.SignECDSASHA256, kms.SpecECP384: kms.SignECDSASHA384,
				kms.SpecEd25519: kms.SignEd25519, kms.SpecRSA2048: kms.SignRSAPKCS1SHA256, kms.SpecRSA3072: kms.SignRSAPKCS1SHA384,
				kms.SpecRSA4096: kms.SignRSAPKCS1SHA512}[spec]
			hash, _ = alg.Hash()
			theirs, err := crypto.SignMessage(own, rand.Reader, []byte("x"), hash)
			require.NoError(t, err)
			require.NoError(t, k.Verify(ctx, id, alg, []byte("x"), theirs))

			require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, id, nil)))
			require.ErrorIs(t, k.Verify(ctx, id, alg, []byte("x"), theirs), kms.ErrPendingImport)
			require.ErrorIs(t, kit.Err(k.GetPublicKey(ctx, id)), kms.ErrPendingImport)
			require.Equal(t, []string{"ErrMaterial"}, kit.Conditions(importAgain(t, k, id, marshalPKCS8(t, another(t, private)))))
			require.NoError(t, importAgain(t, k, id, withAttributes(t, der)), "another encoding")
			require.NoError(t, k.Verify(ctx, id, alg, []byte("x"), theirs))
			require.ErrorIs(t, kit.Err(k.RotateKey(ctx, id)), kms.ErrUnsupported)

			for other := range ownKeys() {
				if other != spec {
					_, err := importInto(t, k, other, "", der)
					require.Equal(t, []string{"ErrMaterial"}, kit.Conditions(err), "as %s", other)
				}
			}
		})
	}
}

// another makes a second key like the first.
func another(t *testing.T, private any) any {
	var made any
	var err error
	switch p := private.(type) {
	case *rsa.PrivateKey:
		made, err = rsa.GenerateKey(rand.Reader, p.N.BitLen())
	case *ecdsa.PrivateKey:
		made, err = ecdsa.GenerateKey(p.Curve, rand.Reader)
	default:
		_, made, err = ed25519.GenerateKey(rand.Reader)
	}
	require.NoError(t, err)
	return made
}

// withAttributes is a private key with attributes behind it, as some programs write it.
func withAttributes(t *testing.T, der []byte) []byte {
	var info struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	_, err := asn1.Unmarshal(der, &info)
	require.NoError(t, err)
	var attributes struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		Key        []byte
		Attributes []asn1.RawValue `asn1:"tag:0,set"`
	}
	attributes.Version, attributes.Algorithm, attributes.Key = info.Version, info.Algorithm, info.Key
	attributes.Attributes = []asn1.RawValue{}
	out, err := asn1.Marshal(attributes)
	require.NoError(t, err)
	require.NotEqual(t, der, out)
	return out
}

// TestImportDecryptingKey: what was encrypted under the owner's public key is opened.
func TestImportDecryptingKey(t *testing.T) {
	ctx, k := t.Context(), kmstest.New(t)
	private := ownKeys()[kms.SpecRSA2048]
	id, err := importInto(t, k, kms.SpecRSA2048, kms.UsageEncryptDecrypt, marshalPKCS8(t, private))
	require.NoError(t, err)
	c, err := k.AsymmetricEncrypt(ctx, id, []byte("x"))
	require.NoError(t, err)
	plain, err := private.(*rsa.PrivateKey).Decrypt(nil, c, &rsa.OAEPOptions{Hash: crypto.SHA256})
	require.NoError(t, err)
	require.Equal(t, "x", string(plain))
}

// TestImportMacKeys: what an HMAC key works with is not the material: two keys of the same
// make different MACs, and after a deletion the same material makes others.
func TestImportMacKeys(t *testing.T) {
	ctx, k := t.Context(), kmstest.New(t)
	for spec, n := range map[kms.Spec]int{kms.SpecHMAC256: 32, kms.SpecHMAC384: 48, kms.SpecHMAC512: 64} {
		alg := map[kms.Spec]kms.MacAlgorithm{kms.SpecHMAC256: kms.MacHMACSHA256, kms.SpecHMAC384: kms.MacHMACSHA384, kms.SpecHMAC512: kms.MacHMACSHA512}[spec]
		for _, bad := range []int{2, n - 1, n + 1, 2 * n} {
			_, err := importInto(t, k, spec, "", kit.Pattern(bad))
			require.Equal(t, []string{"ErrMaterial"}, kit.Conditions(err))
		}
		var macs [2][]byte
		for i := range macs {
			id, err := importInto(t, k, spec, "", kit.Pattern(n))
			require.NoError(t, err)
			macs[i], err = k.GenerateMac(ctx, id, alg, []byte("x"))
			require.NoError(t, err)
			require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, id, nil)))
			require.NoError(t, importAgain(t, k, id, kit.Pattern(n)))
			require.NoError(t, k.VerifyMac(ctx, id, alg, []byte("x"), macs[i]), "the same again restores")
		}
		require.NotEqual(t, macs[0], macs[1])
	}
}

// TestBadPrivateKeys: weak, broken, foreign and partial keys are refused, by every spec, in
// little time.
func TestBadPrivateKeys(t *testing.T) {
	for name, der := range badPrivateKeys(t) {
		for spec := range ownKeys() {
			began := time.Now()
			require.False(t, kms.ReadMaterial(spec, der), "%s as %s", name, spec)
			require.Less(t, time.Since(began), 10*time.Second, name)
		}
	}
	k := kmstest.New(t)
	_, err := importInto(t, k, kms.SpecRSA2048, "", badPrivateKeys(t)["RSA, partial"])
	require.Equal(t, []string{"ErrMaterial"}, kit.Conditions(err))
	for spec, private := range ownKeys() {
		require.True(t, kms.ReadMaterial(spec, marshalPKCS8(t, private)))
	}
	// Made as the bad ones are, and sound; also with another exponent than everybody has.
	for _, e := range []int{65537, 65539} {
		id, err := importInto(t, k, kms.SpecRSA2048, "", rsaWithExponent(t, e))
		require.NoError(t, err)
		made, err := k.Sign(t.Context(), id, kms.SignRSAPSSSHA256, []byte("x"))
		require.NoError(t, err)
		require.NoError(t, k.Verify(t.Context(), id, kms.SignRSAPSSSHA256, []byte("x"), made))
	}
}

func badPrivateKeys(t testing.TB) map[string][]byte {
	sound := ownKeys()[kms.SpecRSA2048].(*rsa.PrivateKey)
	der := marshalPKCS8(t, sound)
	bad := map[string][]byte{
		"nil": nil, "cut": der[:len(der)-1], "a byte more": append(bytes.Clone(der), 0), "twice": append(bytes.Clone(der), der...),
		"8 KiB of noise": bytes.Repeat([]byte{0x30, 0x82}, 4096), "PKCS #1": x509.MarshalPKCS1PrivateKey(sound),
	}
	for n := range 65 {
		for _, b := range []byte{0, 1, 0x30, 255} {
			bad["equal bytes "+string(rune('a'+n))+string(rune(b))] = bytes.Repeat([]byte{b}, n)
		}
	}
	for _, foreign := range []string{"x25519", "p521", "rsa-pss", "rsa2048-three-primes"} {
		der, err := os.ReadFile("testdata/pkcs8/" + foreign + ".der")
		require.NoError(t, err)
		bad[foreign] = der
	}

	zero := new(big.Int)
	p, q := sound.Primes[0], sound.Primes[1]
	bad["RSA, partial"] = rawRSA(t, sound.N, sound.E, sound.D, zero, zero, zero, zero, zero)
	bad["RSA, no private exponent"] = rawRSA(t, sound.N, sound.E, zero, p, q, zero, zero, zero)
	bad["RSA, wrong private exponent"] = rawKey(t, p, q, sound.E, new(big.Int).Add(sound.D, big.NewInt(2)))
	bad["RSA, primes of another key"] = rawRSA(t, sound.N, sound.E, sound.D, q, q, zero, zero, zero)
	bad["RSA, e = 1"] = rawKey(t, p, q, 1, nil)
	bad["RSA, e = 3"] = rsaWithExponent(t, 3)
	bad["RSA, e = 65536"] = rawKey(t, p, q, 65536, sound.D)
	bad["RSA, e = -65537"] = rawRSA(t, sound.N, -65537, sound.D, p, q, zero, zero, zero)
	bad["RSA, equal primes"] = rawKey(t, p, p, 65537, nil)
	bad["RSA, near primes"] = rawKey(t, p, nextPrime(p), 65537, nil)
	bad["RSA, primes of unequal length"] = unequalRSA(t)
	bad["RSA, not primes"] = compositeRSA(t)
	bad["RSA, as large as fits"] = hugeRSA(t)
	require.Less(t, len(bad["RSA, as large as fits"]), 8<<10)
	return bad
}

// FuzzPKCS8: no bytes make an import panic, and what it takes can be used.
func FuzzPKCS8(f *testing.F) {
	specs := []kms.Spec{kms.SpecECP256, kms.SpecECP384, kms.SpecEd25519, kms.SpecRSA2048}
	seeds, err := filepath.Glob("testdata/pkcs8/*.der")
	require.NoError(f, err)
	require.NotEmpty(f, seeds)
	for _, seed := range seeds {
		der, err := os.ReadFile(seed)
		require.NoError(f, err)
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if len(der) > 8<<10 {
			return
		}
		taken := 0
		for _, spec := range specs {
			if !kms.ReadMaterial(spec, der) {
				continue
			}
			taken++
			k := kmstest.New(t)
			id, err := importInto(t, k, spec, kms.UsageSignVerify, der)
			require.NoError(t, err)
			p, err := k.GetPublicKey(t.Context(), id)
			require.NoError(t, err)
			alg := map[kms.Spec]kms.SigningAlgorithm{kms.SpecECP256: kms.SignECDSASHA256, kms.SpecECP384: kms.SignECDSASHA384,
				kms.SpecEd25519: kms.SignEd25519, kms.SpecRSA2048: kms.SignRSAPSSSHA256}[spec]
			made, err := k.Sign(t.Context(), id, alg, der)
			require.NoError(t, err)
			require.NoError(t, k.Verify(t.Context(), id, alg, der, made))
			require.NotNil(t, p.Key())
		}
		require.LessOrEqual(t, taken, 1)
	})
}
