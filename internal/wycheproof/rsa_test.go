package wycheproof_test

import (
	"crypto"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/signature/rsassapkcs1"
	"github.com/tink-crypto/tink-go/v2/signature/rsassapss"

	"github.com/keyhold/kms/internal/wycheproof"
)

type rsaGroup struct {
	KeySize      int            `json:"keySize"`
	PublicKeyDer wycheproof.Hex `json:"publicKeyDer"`
	Sha          string         `json:"sha"`
	MGFSha       string         `json:"mgfSha"`
	SaltLength   int            `json:"sLen"`
	Tests        []signed       `json:"tests"`
}

func (g rsaGroup) key(t testing.TB) *rsa.PublicKey {
	t.Helper()
	k, err := x509.ParsePKIXPublicKey(g.PublicKeyDer)
	require.NoError(t, err)
	return k.(*rsa.PublicKey)
}

// leave tells why a group of PSS is not run.
func (g rsaGroup) leave() string {
	switch {
	case hashes[g.Sha] == 0:
		return "SHA-1 and SHA-224 are not in use"
	case g.MGFSha != g.Sha:
		return "another hash for the mask is not in use"
	case g.SaltLength == 0:
		return "a salt of no bytes is not in use; to crypto/rsa it is one of any length"
	}
	return ""
}

// TestRSAPSS: with one hash for the message and the mask, and salts of several lengths.
func TestRSAPSS(t *testing.T) {
	t.Parallel()
	theirHashes := map[crypto.Hash]rsassapss.HashType{crypto.SHA256: rsassapss.SHA256, crypto.SHA384: rsassapss.SHA384, crypto.SHA512: rsassapss.SHA512}
	for _, file := range []string{
		"rsa_pss_2048_sha256_mgf1_32", "rsa_pss_2048_sha384_mgf1_48", "rsa_pss_3072_sha256_mgf1_32",
		"rsa_pss_4096_sha256_mgf1_32", "rsa_pss_4096_sha384_mgf1_48", "rsa_pss_4096_sha512_mgf1_32", "rsa_pss_4096_sha512_mgf1_64", "rsa_pss_misc",
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			std, tinks := wycheproof.NewTally(t, file+", crypto/rsa"), wycheproof.NewTally(t, file+", Tink")
			for _, g := range wycheproof.Groups[rsaGroup](t, file) {
				hash, public := hashes[g.Sha], g.key(t)
				if why := g.leave(); why != "" {
					std.Leave(why, len(g.Tests))
					tinks.Leave(why, len(g.Tests))
					continue
				}
				fips140.WithoutEnforcement(func() {
					params, err := rsassapss.NewParameters(rsassapss.ParametersValues{ModulusSizeBits: g.KeySize, SigHashType: theirHashes[hash],
						MGF1HashType: theirHashes[hash], PublicExponent: public.E, SaltLengthBytes: g.SaltLength}, rsassapss.VariantNoPrefix)
					require.NoError(t, err)
					k, err := rsassapss.NewPublicKey(public.N.Bytes(), 0, params)
					require.NoError(t, err)
					theirs := verifierOf(t, k)
					for _, v := range g.Tests {
						std.Check(v.Vector, rsa.VerifyPSS(public, hash, digest(hash, v.Msg), v.Sig, &rsa.PSSOptions{SaltLength: g.SaltLength}) == nil)
						tinks.Check(v.Vector, theirs.Verify(v.Sig, v.Msg) == nil)
					}
				})
			}
		})
	}
}

// missingNull: the one encoding that some take and some do not.
var missingNull = wycheproof.Exception{Flag: "MissingNull", Accepted: false,
	Why: "a digest's parameters are NULL (RFC 8017, 9.2); who leaves them out is refused"}

// TestRSAPKCS1: RSASSA-PKCS1-v1_5.
func TestRSAPKCS1(t *testing.T) {
	t.Parallel()
	theirHashes := map[crypto.Hash]rsassapkcs1.HashType{crypto.SHA256: rsassapkcs1.SHA256, crypto.SHA384: rsassapkcs1.SHA384, crypto.SHA512: rsassapkcs1.SHA512}
	for _, file := range []string{
		"rsa_signature_2048_sha256", "rsa_signature_2048_sha384", "rsa_signature_2048_sha512", "rsa_signature_3072_sha256", "rsa_signature_3072_sha384",
		"rsa_signature_3072_sha512", "rsa_signature_4096_sha256", "rsa_signature_4096_sha384", "rsa_signature_4096_sha512",
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			std, tinks := wycheproof.NewTally(t, file+", crypto/rsa", missingNull), wycheproof.NewTally(t, file+", Tink", missingNull)
			for _, g := range wycheproof.Groups[rsaGroup](t, file) {
				hash, public := hashes[g.Sha], g.key(t)
				fips140.WithoutEnforcement(func() {
					for _, v := range g.Tests {
						std.Check(v.Vector, rsa.VerifyPKCS1v15(public, hash, digest(hash, v.Msg), v.Sig) == nil)
					}
					if public.E < 65537 {
						tinks.Leave("Tink takes no public exponent below 65537", len(g.Tests))
						return
					}
					params, err := rsassapkcs1.NewParameters(g.KeySize, theirHashes[hash], public.E, rsassapkcs1.VariantNoPrefix)
					require.NoError(t, err)
					k, err := rsassapkcs1.NewPublicKey(public.N.Bytes(), 0, params)
					require.NoError(t, err)
					theirs := verifierOf(t, k)
					for _, v := range g.Tests {
						tinks.Check(v.Vector, theirs.Verify(v.Sig, v.Msg) == nil)
					}
				})
			}
		})
	}
}
