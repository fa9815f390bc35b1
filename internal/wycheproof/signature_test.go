package wycheproof_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/fips140"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/signature"
	tinkecdsa "github.com/tink-crypto/tink-go/v2/signature/ecdsa"
	tinked25519 "github.com/tink-crypto/tink-go/v2/signature/ed25519"
	"github.com/tink-crypto/tink-go/v2/signature/mldsa"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/keyhold/kms/internal/tinkkeys"
	"github.com/keyhold/kms/internal/wycheproof"
)

func verifierOf(t testing.TB, k key.Key) tink.Verifier {
	t.Helper()
	v, err := signature.NewVerifier(tinkkeys.Handle(t, k))
	require.NoError(t, err)
	return v
}

type signed struct {
	wycheproof.Vector
	Msg, Sig, Ctx wycheproof.Hex
}

var hashes = map[string]crypto.Hash{"SHA-256": crypto.SHA256, "SHA-384": crypto.SHA384, "SHA-512": crypto.SHA512}

func digest(h crypto.Hash, msg []byte) []byte {
	d := h.New()
	d.Write(msg)
	return d.Sum(nil)
}

type ecdsaGroup struct {
	PublicKey struct {
		Uncompressed wycheproof.Hex
	} `json:"publicKey"`
	Sha   string   `json:"sha"`
	Tests []signed `json:"tests"`
}

// TestECDSA: signatures in DER by crypto/ecdsa and Tink, those of two numbers by Tink.
func TestECDSA(t *testing.T) {
	t.Parallel()
	for _, f := range []struct {
		file     string
		curve    elliptic.Curve
		tink     tinkecdsa.CurveType
		hash     tinkecdsa.HashType
		encoding tinkecdsa.SignatureEncoding
	}{
		{"ecdsa_secp256r1_sha256", elliptic.P256(), tinkecdsa.NistP256, tinkecdsa.SHA256, tinkecdsa.DER},
		{"ecdsa_secp256r1_sha256_p1363", elliptic.P256(), tinkecdsa.NistP256, tinkecdsa.SHA256, tinkecdsa.IEEEP1363},
		{"ecdsa_secp384r1_sha384", elliptic.P384(), tinkecdsa.NistP384, tinkecdsa.SHA384, tinkecdsa.DER},
		{"ecdsa_secp384r1_sha384_p1363", elliptic.P384(), tinkecdsa.NistP384, tinkecdsa.SHA384, tinkecdsa.IEEEP1363},
		{"ecdsa_secp384r1_sha256", elliptic.P384(), 0, 0, tinkecdsa.DER}, // Tink takes no P-384 with SHA-256
	} {
		t.Run(f.file, func(t *testing.T) {
			t.Parallel()
			var std, tinks *wycheproof.Tally
			if f.encoding == tinkecdsa.DER {
				std = wycheproof.NewTally(t, f.file+", crypto/ecdsa")
			}
			if f.tink != 0 {
				tinks = wycheproof.NewTally(t, f.file+", Tink")
			}
			for _, g := range wycheproof.Groups[ecdsaGroup](t, f.file) {
				public, err := ecdsa.ParseUncompressedPublicKey(f.curve, g.PublicKey.Uncompressed)
				require.NoError(t, err)
				var theirs tink.Verifier
				if tinks != nil {
					params, err := tinkecdsa.NewParameters(f.tink, f.hash, f.encoding, tinkecdsa.VariantNoPrefix)
					require.NoError(t, err)
					k, err := tinkecdsa.NewPublicKey(g.PublicKey.Uncompressed, 0, params)
					require.NoError(t, err)
					theirs = verifierOf(t, k)
				}
				for _, v := range g.Tests {
					if std != nil {
						std.Check(v.Vector, ecdsa.VerifyASN1(public, digest(hashes[g.Sha], v.Msg), v.Sig))
					}
					if tinks != nil {
						tinks.Check(v.Vector, theirs.Verify(v.Sig, v.Msg) == nil)
					}
				}
			}
		})
	}
}

type ed25519Group struct {
	PublicKey struct{ PK wycheproof.Hex } `json:"publicKey"`
	Tests     []signed                    `json:"tests"`
}

func TestEd25519(t *testing.T) {
	t.Parallel()
	std, tinks := wycheproof.NewTally(t, "ed25519, crypto/ed25519"), wycheproof.NewTally(t, "ed25519, Tink")
	params, err := tinked25519.NewParameters(tinked25519.VariantNoPrefix)
	require.NoError(t, err)
	for _, g := range wycheproof.Groups[ed25519Group](t, "ed25519") {
		k, err := tinked25519.NewPublicKey(g.PublicKey.PK, 0, params)
		require.NoError(t, err)
		theirs := verifierOf(t, k)
		for _, v := range g.Tests {
			std.Check(v.Vector, ed25519.Verify(ed25519.PublicKey(g.PublicKey.PK), v.Msg, v.Sig))
			tinks.Check(v.Vector, theirs.Verify(v.Sig, v.Msg) == nil)
		}
	}
}

type mldsaGroup struct {
	PublicKey wycheproof.Hex `json:"publicKey"`
	Tests     []signed       `json:"tests"`
}

// TestMLDSA65: pure ML-DSA-65 with no context, as Tink has it.
func TestMLDSA65(t *testing.T) {
	t.Parallel()
	tinks := wycheproof.NewTally(t, "mldsa_65_verify, Tink")
	params, err := mldsa.NewParameters(mldsa.MLDSA65, mldsa.VariantNoPrefix)
	require.NoError(t, err)
	for _, g := range wycheproof.Groups[mldsaGroup](t, "mldsa_65_verify") {
		k, badKey := mldsa.NewPublicKey(g.PublicKey, 0, params)
		for _, v := range g.Tests {
			switch {
			case badKey != nil:
				tinks.Check(v.Vector, false)
			case len(v.Ctx) > 0:
				tinks.Leave("there is no way to give a context", 1)
			default:
				fips140.WithoutEnforcement(func() { tinks.Check(v.Vector, verifierOf(t, k).Verify(v.Sig, v.Msg) == nil) })
			}
		}
	}
}
