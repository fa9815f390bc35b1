//go:build cgo

package hsm

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math/big"

	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/provider"
)

// rsaKey is an opened key that decrypts what was encrypted under its public half.
type rsaKey struct {
	noCipher
	key
}

var _ provider.AsymmetricDecrypter = (*rsaKey)(nil)

func openDecrypter(t *Token, r reference) provider.Key {
	return &rsaKey{key: key{t: t, r: r, class: pkcs11.CKO_PRIVATE_KEY}}
}

func (k *rsaKey) PublicKey(context.Context) ([]byte, error) { return bytes.Clone(k.r.public), nil }

func (k *rsaKey) DecryptOAEP(ctx context.Context, ciphertext []byte) ([]byte, error) {
	public, err := k.public()
	if err != nil {
		return nil, err
	}
	// The bare operation is one of numbers below the modulus.
	if len(ciphertext) != public.Size() || new(big.Int).SetBytes(ciphertext).Cmp(public.N) >= 0 {
		return nil, provider.ErrCiphertext
	}
	ciphertext = own(ctx, ciphertext)
	return do(ctx, k.t, using, func(s *session) ([]byte, error) {
		return decrypt(s, func(s *session) ([]byte, error) { return k.open(s, ciphertext) }, k.try)
	})
}

func (k *rsaKey) public() (*rsa.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(k.r.public)
	public, ok := parsed.(*rsa.PublicKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%w: the public half is none", provider.ErrNoKey)
	}
	return public, nil
}

// open decrypts in the token: with its OAEP, or where that has no SHA-256, with the bare
// operation. Which of the two is a matter of the token and not of the ciphertext.
func (k *rsaKey) open(s *session, ciphertext []byte) ([]byte, error) {
	h, err := k.handle(s)
	if err != nil {
		return nil, err
	}
	if !s.g.bareRSA.Load() {
		oaep := pkcs11.NewOAEPParams(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, pkcs11.CKZ_DATA_SPECIFIED, nil)
		err := s.fail("C_DecryptInit", s.g.p.DecryptInit(s.h, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_OAEP, oaep)}, h))
		if err == nil {
			plaintext, err := s.g.p.Decrypt(s.h, ciphertext)
			return plaintext, s.fail(opDecrypt, err)
		}
		if !hasErrorCode(err, pkcs11.CKR_ARGUMENTS_BAD, pkcs11.CKR_MECHANISM_PARAM_INVALID, pkcs11.CKR_MECHANISM_INVALID) {
			return nil, err
		}
		s.g.bareRSA.Store(true)
	}
	if err := s.g.p.DecryptInit(s.h, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_RSA_X_509, nil)}, h); err != nil {
		return nil, s.fail("C_DecryptInit", err)
	}
	padded, err := s.g.p.Decrypt(s.h, ciphertext)
	if err != nil {
		return nil, s.fail(opDecrypt, err)
	}
	defer clear(padded)
	plaintext, ok := unpadOAEP(padded, len(ciphertext))
	if !ok {
		return nil, provider.ErrCiphertext
	}
	return plaintext, nil
}

// try decrypts something, and so finds out whether the public half is that of the key.
func (k *rsaKey) try(s *session) error {
	public, err := k.public()
	if err != nil {
		return err
	}
	plaintext := make([]byte, 32)
	_, _ = rand.Read(plaintext) // never fails: without randomness it ends the program
	ciphertext, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, plaintext, nil)
	if err != nil {
		return err
	}
	opened, err := k.open(s, ciphertext)
	if err == nil && !bytes.Equal(plaintext, opened) {
		err = errTried
	}
	return err
}
