//go:build cgo

package hsm

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"

	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/provider"
)

// A ciphertext is
//
//	IV (12 bytes) || AES-GCM of 32 zero bytes and the plaintext || tag (16 bytes)
//
// AES-GCM does not commit to its key; the zeros do: a ciphertext for two keys would need two key
// streams that agree in their first 32 bytes. The IV is 12 random bytes. Some tokens put in one of
// their own, so what is kept is what the token says that it used.
const (
	ivSize         = 12
	tagSize        = 16
	commitmentSize = 32
	overhead       = ivSize + commitmentSize + tagSize

	maxPlaintext = 8 << 10
)

// aesSizes are the specs of keys that encrypt, with the bytes of a key.
var aesSizes = map[provider.Spec]int{provider.AES256: 32, provider.AES192: 24, provider.AES128: 16}

// aesKey is an opened key that encrypts.
type aesKey struct{ key }

var _ provider.Key = (*aesKey)(nil)

func openAES(t *Token, r reference) provider.Key {
	return &aesKey{key{t: t, r: r, class: pkcs11.CKO_SECRET_KEY}}
}

func (k *aesKey) Encrypt(ctx context.Context, dst, plaintext, associatedData []byte) ([]byte, error) {
	if len(plaintext) > maxPlaintext {
		return nil, unsupported("a plaintext of more than 8 KiB")
	}
	padded := make([]byte, commitmentSize+len(plaintext))
	copy(padded[commitmentSize:], plaintext)
	associatedData = own(ctx, associatedData)
	sealed, err := do(ctx, k.t, using, func(s *session) ([]byte, error) { return k.seal(s, padded, associatedData) })
	if ctx.Err() == nil { // else the module may still read it
		clear(padded)
	}
	if err != nil {
		return nil, err
	}
	return append(dst, sealed...), nil
}

func (k *aesKey) Decrypt(ctx context.Context, dst, ciphertext, associatedData []byte) ([]byte, error) {
	if len(ciphertext) < overhead || len(ciphertext) > overhead+maxPlaintext {
		return nil, provider.ErrCiphertext
	}
	ciphertext, associatedData = own(ctx, ciphertext), own(ctx, associatedData)
	padded, err := do(ctx, k.t, using, func(s *session) ([]byte, error) {
		return decrypt(s, func(s *session) ([]byte, error) { return k.unseal(s, ciphertext, associatedData) }, k.try)
	})
	if err != nil {
		return nil, err
	}
	defer clear(padded)
	plaintext, ok := committed(padded)
	if !ok {
		return nil, provider.ErrCiphertext
	}
	return append(dst, plaintext...), nil
}

// committed returns what follows the zeros, if they are there.
func committed(padded []byte) ([]byte, bool) {
	var zeros [commitmentSize]byte
	if len(padded) < commitmentSize || subtle.ConstantTimeCompare(padded[:commitmentSize], zeros[:]) != 1 {
		return nil, false
	}
	return padded[commitmentSize:], true
}

// seal encrypts in the token.
func (k *aesKey) seal(s *session, padded, associatedData []byte) ([]byte, error) {
	h, err := k.handle(s)
	if err != nil {
		return nil, err
	}
	var iv [ivSize]byte
	_, _ = rand.Read(iv[:]) // never fails: without randomness it ends the program
	params := pkcs11.NewGCMParams(iv[:], associatedData, 8*tagSize)
	defer params.Free()
	if err := s.g.p.EncryptInit(s.h, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, h); err != nil {
		return nil, s.fail("C_EncryptInit", err)
	}
	ciphertext, err := s.g.p.Encrypt(s.h, padded)
	if err != nil {
		return nil, s.fail("C_Encrypt", err)
	}
	used := params.IV()
	if len(used) != ivSize || len(ciphertext) != len(padded)+tagSize {
		s.spent = true
		return nil, unsupported("the token's AES-GCM has other sizes")
	}
	return append(used, ciphertext...), nil
}

// unseal decrypts in the token.
func (k *aesKey) unseal(s *session, sealed, associatedData []byte) ([]byte, error) {
	h, err := k.handle(s)
	if err != nil {
		return nil, err
	}
	params := pkcs11.NewGCMParams(sealed[:ivSize], associatedData, 8*tagSize)
	defer params.Free()
	if err := s.g.p.DecryptInit(s.h, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, h); err != nil {
		return nil, s.fail("C_DecryptInit", err)
	}
	padded, err := s.g.p.Decrypt(s.h, sealed[ivSize:])
	return padded, s.fail(opDecrypt, err)
}

// errTried says that a key did not do what it did a moment ago.
var errTried = errors.New("hsm: a key that was tried does not work")

func (k *aesKey) try(s *session) error {
	sealed, err := k.seal(s, make([]byte, commitmentSize), nil)
	if err != nil {
		return err
	}
	padded, err := k.unseal(s, sealed, nil)
	if err != nil {
		return err
	}
	if rest, ok := committed(padded); !ok || len(rest) > 0 {
		return errTried
	}
	return nil
}

func generateAES(s *session, k kind, o object) ([]byte, error) {
	_, err := s.generateSecret(k.maker, pkcs11.CKK_AES, k.size, o)
	return nil, err
}

func bringAES(s *session, k kind, o object, value []byte) ([]byte, error) {
	if len(value) != k.size {
		return nil, unsupported("not a key of that spec")
	}
	return nil, s.bringSecret(pkcs11.CKK_AES, o, value)
}
