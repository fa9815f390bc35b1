// Package wrapping is how key material travels: wrapped under an RSA key on its way in, and in the
// form that its spec asks for.
package wrapping

import (
	"bytes"
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"

	"github.com/keyhold/kms/internal/kwp"
)

// Scheme is a way to wrap material. OAEP is RSAES-OAEP with SHA-256, MGF1 with SHA-256 and no label
// (RFC 8017).
type Scheme uint8

// The schemes. The zero Scheme is none.
const (
	// OAEP is the material under OAEP.
	OAEP Scheme = 1 + iota

	// AESKeyWrap is a fresh AES-256 key under OAEP, then the material under that key with AES key
	// wrap with padding (RFC 5649).
	AESKeyWrap

	// AESECB is a fresh AES-256 key under OAEP, then the material under that key with AES-ECB and
	// PKCS #7. It is unwrapped and never wrapped.
	AESECB
)

// The answers of Wrap to arguments that do not fit.
var (
	ErrScheme   = errors.New("wrapping: no scheme to wrap with")
	ErrMaterial = errors.New("wrapping: the material does not fit the scheme")
	ErrTooLong  = errors.New("wrapping: the material is too long, or the public key too short")
)

// Wrap wraps material under a public key.
func Wrap(scheme Scheme, public *rsa.PublicKey, material []byte) ([]byte, error) {
	first, second := material, []byte(nil)
	switch scheme {
	case OAEP:
	case AESKeyWrap:
		first = make([]byte, 32)
		rand.Read(first)
		defer clear(first)
		var err error
		if second, err = kwp.Wrap(first, material); err != nil {
			return nil, ErrMaterial
		}
	default:
		return nil, ErrScheme
	}
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, first, nil)
	if err != nil {
		return nil, ErrTooLong
	}
	return append(wrapped, second...), nil
}

// Unwrap takes material out of its wrapping with a private key in PKCS #8. It does not say what is
// wrong with the wrapping. The caller wipes the material.
func Unwrap(scheme Scheme, pkcs8, wrapped []byte) (material []byte, ok bool) {
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	private, isRSA := parsed.(*rsa.PrivateKey)
	if err != nil || !isRSA || len(wrapped) < private.Size() {
		return nil, false
	}
	first, err := rsa.DecryptOAEP(sha256.New(), nil, private, wrapped[:private.Size()], nil)
	if err != nil {
		return nil, false
	}
	second := wrapped[private.Size():]
	switch scheme {
	case OAEP:
		return first, len(second) == 0
	case AESKeyWrap:
		defer clear(first)
		material, err = kwp.Unwrap(first, second)
		return material, err == nil && len(first) == 32
	case AESECB:
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
