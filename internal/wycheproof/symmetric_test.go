package wycheproof_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkhmac "github.com/tink-crypto/tink-go/v2/mac/hmac"
	"github.com/tink-crypto/tink-go/v2/secretdata"

	"github.com/keyhold/kms/internal/tinkkeys"
	"github.com/keyhold/kms/internal/wycheproof"
)

// Vectors are of all kinds, and some that are valid are not allowed in FIPS mode. What is
// tested is whether the answer is right, and so enforcement is off.

type aeadGroup struct {
	IVSize  int `json:"ivSize"`
	KeySize int `json:"keySize"`
	Tests   []struct {
		wycheproof.Vector
		Key, IV, AAD, Msg, CT, Tag wycheproof.Hex
	} `json:"tests"`
}

// TestAESGCM: AES-GCM as internal/xaes has it, with the nonce in front of the ciphertext and
// chosen by the toolchain, and as Tink has it.
func TestAESGCM(t *testing.T) {
	t.Parallel()
	toolchain, tinks := wycheproof.NewTally(t, "aes_gcm, crypto/cipher"), wycheproof.NewTally(t, "aes_gcm, Tink")
	for _, g := range wycheproof.Groups[aeadGroup](t, "aes_gcm") {
		for _, v := range g.Tests {
			if g.IVSize != 96 {
				toolchain.Leave("a nonce of other than 96 bits cannot be had", 1)
				tinks.Leave("a nonce of other than 96 bits cannot be had", 1)
				continue
			}
			sealed := bytes.Join([][]byte{v.IV, v.CT, v.Tag}, nil)
			block, err := aes.NewCipher(v.Key)
			require.NoError(t, err)
			gcm, err := cipher.NewGCMWithRandomNonce(block)
			require.NoError(t, err)
			opened, err := gcm.Open(nil, nil, sealed, v.AAD)
			toolchain.Check(v.Vector, err == nil && bytes.Equal(opened, v.Msg))

			if g.KeySize == 192 {
				tinks.Leave("Tink takes no keys of 192 bits", 1)
				continue
			}
			fips140.WithoutEnforcement(func() {
				a, err := subtle.NewAESGCM(v.Key)
				require.NoError(t, err)
				opened, err = a.Decrypt(sealed, v.AAD)
				tinks.Check(v.Vector, err == nil && bytes.Equal(opened, v.Msg))
			})
		}
	}
}

type macGroup struct {
	KeySize int `json:"keySize"`
	TagSize int `json:"tagSize"`
	Tests   []struct {
		wycheproof.Vector
		Key, Msg, Tag wycheproof.Hex
	} `json:"tests"`
}

// TestHMAC: full and truncated tags, as Tink has them.
func TestHMAC(t *testing.T) {
	t.Parallel()
	for _, h := range []struct {
		file string
		new  func() hash.Hash
		tink tinkhmac.HashType
	}{{"hmac_sha256", sha256.New, tinkhmac.SHA256}, {"hmac_sha384", sha512.New384, tinkhmac.SHA384}, {"hmac_sha512", sha512.New, tinkhmac.SHA512}} {
		t.Run(h.file, func(t *testing.T) {
			t.Parallel()
			std, tinks := wycheproof.NewTally(t, h.file+", crypto/hmac"), wycheproof.NewTally(t, h.file+", Tink")
			for _, g := range wycheproof.Groups[macGroup](t, h.file) {
				params, err := tinkhmac.NewParameters(tinkhmac.ParametersOpts{KeySizeInBytes: g.KeySize / 8, TagSizeInBytes: g.TagSize / 8,
					HashType: h.tink, Variant: tinkhmac.VariantNoPrefix})
				require.NoError(t, err)
				for _, v := range g.Tests {
					m := hmac.New(h.new, v.Key)
					m.Write(v.Msg)
					std.Check(v.Vector, hmac.Equal(m.Sum(nil)[:g.TagSize/8], v.Tag))

					key, err := tinkhmac.NewKey(secretdata.NewBytesFromData(v.Key, insecuresecretdataaccess.Token{}), params, 0)
					require.NoError(t, err)
					theirs, err := mac.New(tinkkeys.Handle(t, key))
					require.NoError(t, err)
					tinks.Check(v.Vector, theirs.VerifyMAC(v.Tag, v.Msg) == nil)
				}
			}
		})
	}
}

type hkdfGroup struct {
	Tests []struct {
		wycheproof.Vector
		IKM, Salt, Info, OKM wycheproof.Hex
		Size                 int
	} `json:"tests"`
}

// TestHKDF: the instance's keys are expanded, the keys of imported material are extracted
// and expanded.
func TestHKDF(t *testing.T) {
	t.Parallel()
	c := wycheproof.NewTally(t, "hkdf_sha256, crypto/hkdf")
	for _, g := range wycheproof.Groups[hkdfGroup](t, "hkdf_sha256") {
		for _, v := range g.Tests {
			fips140.WithoutEnforcement(func() {
				okm, err := hkdf.Key(sha256.New, v.IKM, v.Salt, string(v.Info), v.Size)
				c.Check(v.Vector, err == nil && bytes.Equal(okm, v.OKM))
				prk, err := hkdf.Extract(sha256.New, v.IKM, v.Salt)
				require.NoError(t, err)
				again, err := hkdf.Expand(sha256.New, prk, string(v.Info), v.Size)
				require.Equal(t, v.Result == "valid", err == nil)
				require.Equal(t, okm, again)
			})
		}
	}
}
