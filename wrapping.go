package kms

import (
	"crypto/rsa"
	"crypto/x509"
	"maps"
	"slices"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/unfilled"
	"github.com/keyhold/kms/internal/wrapping"
)

// WrappingAlgorithm is how material is wrapped on its way in.
type WrappingAlgorithm string

// The wrapping algorithms. OAEP is RSAES-OAEP with SHA-256, MGF1 with SHA-256 and no label
// (RFC 8017).
const (
	// WrapOAEP: the material under OAEP.
	WrapOAEP WrappingAlgorithm = "RSAES_OAEP_SHA_256"

	// WrapAESKeyWrap: a fresh AES-256 key under OAEP, then the material under that key with
	// AES key wrap with padding (RFC 5649).
	WrapAESKeyWrap WrappingAlgorithm = "RSA_AES_KEY_WRAP_SHA_256"

	// WrapAESECB: a fresh AES-256 key under OAEP, then the material under that key with
	// AES-ECB and PKCS #7. It is taken because clients of a cloud service wrap so, and is
	// never made by WrapForImport. What comes this way is not authenticated; the fingerprint
	// is what tells wrong material, from the second import on.
	WrapAESECB WrappingAlgorithm = "RSAES_OAEP_SHA_256_AES_256_ECB_PKCS7_PAD"
)

// schemes are what the algorithms are.
var schemes = map[WrappingAlgorithm]wrapping.Scheme{
	WrapOAEP: wrapping.OAEP, WrapAESKeyWrap: wrapping.AESKeyWrap, WrapAESECB: wrapping.AESECB,
}

// WrapForImport wraps material as the parameters say: the owner's side of an import, for
// those who have the material in the same process. It fails with ErrInvalid where the
// parameters are not as they came, the material does not fit, or its bytes are all the same.
func WrapForImport(p ImportParameters, material []byte) ([]byte, error) {
	parsed, err := x509.ParsePKIXPublicKey(p.PublicKey)
	public, ok := parsed.(*rsa.PublicKey)
	if err != nil || !ok {
		return nil, invalid(opWrapForImport, "ImportParameters.PublicKey is not the RSA key that GetParametersForImport gave")
	}
	if unfilled.Buffer(material) {
		return nil, invalid(opWrapForImport, "the material: its bytes are all the same, or there are none")
	}
	wrapped, err := wrapping.Wrap(schemes[p.Algorithm], public, material)
	switch {
	case errors.Is(err, wrapping.ErrMaterial):
		return nil, invalid(opWrapForImport, "the material is not of a length that the algorithm wraps")
	case errors.Is(err, wrapping.ErrTooLong):
		return nil, invalid(opWrapForImport, "the material is longer than the algorithm and the key wrap: take %s", WrapAESKeyWrap)
	case err != nil:
		return nil, badWrapping(opWrapForImport, "ImportParameters.Algorithm")
	}
	return wrapped, nil
}

func badWrapping(op Op, argument string) error {
	return invalid(op, "%s is none of %s", argument, listed(slices.Collect(maps.Keys(schemes))))
}
