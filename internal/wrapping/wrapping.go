// Package wrapping is how key material travels: wrapped under an RSA key on its way in, and in the
// form that its spec asks for.
package wrapping

import (
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
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

// steps are what Unwrap does with secrets, in this order: OAEP first, and then what the scheme has
// for the second part. Both report false for a wrong input.
type steps struct {
	oaep   func(private *rsa.PrivateKey, block []byte) ([]byte, bool)
	second map[Scheme]func(key, b []byte) ([]byte, bool)
}

var everyStep = steps{
	oaep: func(private *rsa.PrivateKey, block []byte) ([]byte, bool) {
		opened, err := rsa.DecryptOAEP(sha256.New(), nil, private, block, nil)
		return opened, err == nil
	},
	second: map[Scheme]func(key, b []byte) ([]byte, bool){AESKeyWrap: unwrapKWP, AESECB: unwrapECB},
}

// Unwrap takes material out of its wrapping with a private key in PKCS #8. It does not say what is
// wrong with the wrapping, and takes the same steps for whatever is wrong with the content of a
// wrapping of the same length. The caller wipes the material and the private key.
func Unwrap(scheme Scheme, pkcs8, wrapped []byte) (material []byte, ok bool) {
	return everyStep.unwrap(scheme, pkcs8, wrapped)
}

func (s steps) unwrap(scheme Scheme, pkcs8, wrapped []byte) (material []byte, ok bool) {
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	private, isRSA := parsed.(*rsa.PrivateKey)
	if err != nil || !isRSA || len(wrapped) < private.Size() {
		return nil, false
	}
	block, rest := wrapped[:private.Size()], wrapped[private.Size():]
	second := s.second[scheme]
	switch {
	case scheme == OAEP && len(rest) == 0:
		return s.oaep(private, block)
	case second == nil:
		return nil, false
	}
	// A block that holds no key is replaced by a random key, which unwraps nothing.
	key := make([]byte, 32)
	defer clear(key)
	rand.Read(key)
	first, opened := s.oaep(private, block)
	defer clear(first)
	if opened = opened && len(first) == len(key); opened {
		copy(key, first)
	}
	material, ok = second(key, rest)
	if !ok || !opened {
		clear(material)
		return nil, false
	}
	return material, true
}

func unwrapKWP(key, b []byte) ([]byte, bool) {
	material, err := kwp.Unwrap(key, b)
	return material, err == nil
}

// unwrapECB undoes AES-256-ECB with PKCS #7. No branch depends on which byte of the padding is wrong.
func unwrapECB(key, b []byte) ([]byte, bool) {
	block, err := aes.NewCipher(key)
	if err != nil || len(b) == 0 || len(b)%aes.BlockSize != 0 {
		return nil, false
	}
	out := make([]byte, len(b))
	for at := 0; at < len(b); at += aes.BlockSize {
		block.Decrypt(out[at:], b[at:])
	}
	last := out[len(out)-aes.BlockSize:]
	n := int(last[aes.BlockSize-1])
	sound := subtle.ConstantTimeLessOrEq(1, n) & subtle.ConstantTimeLessOrEq(n, aes.BlockSize)
	for i, got := range last {
		within := subtle.ConstantTimeLessOrEq(aes.BlockSize-i, n)
		sound &= subtle.ConstantTimeSelect(within, subtle.ConstantTimeByteEq(got, byte(n)), 1)
	}
	if sound != 1 {
		clear(out)
		return nil, false
	}
	return out[:len(out)-n], true
}
