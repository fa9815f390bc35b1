package wycheproof_test

import (
	"bytes"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/wycheproof"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

// Here the vectors that have a private or secret key go through keys of package software,
// which imports them. Its other signatures are verified by just the functions that the other
// tests of this package call.

// softwareKey imports a key and opens it.
func softwareKey(t testing.TB, spec provider.Spec, key []byte) provider.Key {
	t.Helper()
	p := software.New()
	material, err := p.Import(t.Context(), "wycheproof", spec, spec.Uses()[0], key)
	require.NoError(t, err)
	k, err := p.Open(t.Context(), "wycheproof", spec, material)
	require.NoError(t, err)
	return k
}

// TestSoftwareMAC: keys and tags as long as the hash, as software's are.
func TestSoftwareMAC(t *testing.T) {
	t.Parallel()
	for _, h := range []struct {
		file string
		size int
		spec provider.Spec
		alg  provider.MacAlgorithm
	}{
		{"hmac_sha256", 256, provider.HMAC256, provider.MacHMACSHA256},
		{"hmac_sha384", 384, provider.HMAC384, provider.MacHMACSHA384},
		{"hmac_sha512", 512, provider.HMAC512, provider.MacHMACSHA512},
	} {
		c := wycheproof.NewTally(t, h.file+", software")
		for _, g := range wycheproof.Groups[macGroup](t, h.file) {
			if g.KeySize != h.size || g.TagSize != h.size {
				c.Leave("keys and tags of software are as long as the hash", len(g.Tests))
				continue
			}
			for _, v := range g.Tests {
				k := softwareKey(t, h.spec, v.Key).(provider.MAC)
				c.Check(v.Vector, k.VerifyMac(t.Context(), h.alg, v.Msg, v.Tag) == nil)
			}
		}
	}
}

type privateGroup struct {
	KeySize int            `json:"keySize"`
	Sha     string         `json:"sha"`
	MGFSha  string         `json:"mgfSha"`
	Private wycheproof.Hex `json:"privateKeyPkcs8"`
	Tests   []struct {
		wycheproof.Vector
		Msg, CT, Sig wycheproof.Hex
	} `json:"tests"`
}

var rsaSpecs = map[int]provider.Spec{2048: provider.RSA2048, 3072: provider.RSA3072, 4096: provider.RSA4096}

// TestSoftwareOAEP: what was encrypted under the public key of a software key.
func TestSoftwareOAEP(t *testing.T) {
	t.Parallel()
	labelled := wycheproof.Exception{Flag: "EncryptionWithLabel", Accepted: false, Why: "it has a label, and software keys have none"}
	for _, file := range []string{"rsa_oaep_2048_sha256_mgf1sha256", "rsa_oaep_3072_sha256_mgf1sha256", "rsa_oaep_4096_sha256_mgf1sha256"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			c := wycheproof.NewTally(t, file+", software", labelled)
			for _, g := range wycheproof.Groups[privateGroup](t, file) {
				fips140.WithoutEnforcement(func() {
					k := softwareKey(t, rsaSpecs[g.KeySize], g.Private).(provider.AsymmetricDecrypter)
					for _, v := range g.Tests {
						opened, err := k.DecryptOAEP(t.Context(), v.CT)
						c.Check(v.Vector, err == nil && bytes.Equal(opened, v.Msg))
					}
				})
			}
		})
	}
}

// TestSoftwarePKCS1: the signatures of RSASSA-PKCS1-v1_5, which are the same whoever makes
// them, are made and verified. PSS with the same key does not verify them.
func TestSoftwarePKCS1(t *testing.T) {
	t.Parallel()
	algs := map[string][2]provider.SigningAlgorithm{
		"SHA-256": {provider.SignRSAPKCS1SHA256, provider.SignRSAPSSSHA256},
		"SHA-384": {provider.SignRSAPKCS1SHA384, provider.SignRSAPSSSHA384},
		"SHA-512": {provider.SignRSAPKCS1SHA512, provider.SignRSAPSSSHA512},
	}
	for _, bits := range []int{2048, 3072, 4096} {
		file := fmt.Sprintf("rsa_pkcs1_%d_sig_gen", bits)
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			c := wycheproof.NewTally(t, file+", software")
			for _, g := range wycheproof.Groups[privateGroup](t, file) {
				alg, used := algs[g.Sha]
				if !used {
					c.Leave("SHA-1, SHA-224 and others are not in use", len(g.Tests))
					continue
				}
				fips140.WithoutEnforcement(func() {
					parsed, err := x509.ParsePKCS8PrivateKey(g.Private)
					require.NoError(t, err)
					if parsed.(*rsa.PrivateKey).E < 65537 {
						c.Leave("no key with a public exponent below 65537 is imported", len(g.Tests))
						return
					}
					k := softwareKey(t, rsaSpecs[bits], g.Private).(provider.Signer)
					for _, v := range g.Tests {
						d := digest(hashes[g.Sha], v.Msg)
						made, err := k.Sign(t.Context(), alg[0], d)
						require.NoError(t, err)
						c.Check(v.Vector, bytes.Equal(made, v.Sig) && k.Verify(t.Context(), alg[0], d, v.Sig) == nil)
						require.ErrorIs(t, k.Verify(t.Context(), alg[1], d, v.Sig), provider.ErrSignature)
					}
				})
			}
		})
	}
}
