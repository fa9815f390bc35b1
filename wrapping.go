package kms

import (
	"bytes"
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"

	"github.com/keyhold/kms/internal/kwp"
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

func (a WrappingAlgorithm) known() bool {
	return a == WrapOAEP || a == WrapAESKeyWrap || a == WrapAESECB
}

// WrapForImport wraps material as the parameters say: the owner's side of an import, for
// those who have the material in the same process. It fails with ErrInvalid where the
// parameters are not as they came, or the material does not fit.
func WrapForImport(p ImportParameters, material []byte) ([]byte, error) {
	parsed, err := x509.ParsePKIXPublicKey(p.PublicKey)
	public, ok := parsed.(*rsa.PublicKey)
	if err != nil || !ok {
		return nil, invalid(opWrapForImport, "the public key")
	}
	first, second := material, []byte(nil)
	switch p.Algorithm {
	case WrapOAEP:
	case WrapAESKeyWrap:
		first = randomBytes(32)
		defer clear(first)
		if second, err = kwp.Wrap(first, material); err != nil {
			return nil, invalid(opWrapForImport, "the material")
		}
	default:
		return nil, invalid(opWrapForImport, "the wrapping algorithm")
	}
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, first, nil)
	if err != nil {
		return nil, invalid(opWrapForImport, "the material is too long, or the public key too short")
	}
	return append(wrapped, second...), nil
}

// unwrap takes material out of its wrapping. What is wrong with it is not told.
func (t *importToken) unwrap(wrapped []byte) (material []byte, ok bool) {
	parsed, err := x509.ParsePKCS8PrivateKey(t.Private)
	private, isRSA := parsed.(*rsa.PrivateKey)
	if err != nil || !isRSA || len(wrapped) < private.Size() {
		return nil, false
	}
	first, err := rsa.DecryptOAEP(sha256.New(), nil, private, wrapped[:private.Size()], nil)
	if err != nil {
		return nil, false
	}
	second := wrapped[private.Size():]
	switch t.Algorithm {
	case WrapOAEP:
		return first, len(second) == 0
	case WrapAESKeyWrap:
		defer clear(first)
		material, err = kwp.Unwrap(first, second)
		return material, err == nil && len(first) == 32
	case WrapAESECB:
		defer clear(first)
		return unwrapECB(first, second)
	default:
		return nil, false
	}
}

// unwrapECB undoes AES-256-ECB with PKCS #7.
func unwrapECB(key, b []byte) ([]byte, bool) {
	block, err := aes.NewCipher(key)
	if err != nil || len(key) != 32 || len(b) == 0 || len(b)%aes.BlockSize != 0 {
		return nil, false
	}
	out := make([]byte, len(b))
	for at := 0; at < len(b); at += aes.BlockSize {
		block.Decrypt(out[at:], b[at:])
	}
	n := int(out[len(out)-1])
	if n < 1 || n > aes.BlockSize || !bytes.Equal(out[len(out)-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		clear(out)
		return nil, false
	}
	return out[:len(out)-n], true
}
