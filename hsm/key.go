//go:build cgo

package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/provider"
)

// A key is what all opened keys are: a reference, and where its object was found last.
type key struct {
	t     *Token
	r     reference
	class uint
	last  atomic.Pointer[found]
}

// found is a handle, good for one generation and until something was destroyed in it.
type found struct {
	g      *generation
	gones  uint64
	handle pkcs11.ObjectHandle
}

// handle finds the object, which costs nothing when it was found before.
func (k *key) handle(s *session) (pkcs11.ObjectHandle, error) {
	if f := k.last.Load(); f != nil && f.g == s.g && f.gones == s.g.gones.Load() {
		return f.handle, nil
	}
	f := found{g: s.g, gones: s.g.gones.Load()}
	var err error
	if f.handle, err = s.handle(k.class, k.r); err != nil {
		return 0, err
	}
	k.last.Store(&f)
	return f.handle, nil
}

// own returns what a call may still read when its caller has gone: see do.
func own(ctx context.Context, b []byte) []byte {
	if ctx.Done() == nil {
		return b
	}
	return bytes.Clone(b)
}

// decrypt opens a ciphertext, and finds out what it means when the token does not: modules
// answer a ciphertext that is none with codes that can mean anything. If the token opens a
// ciphertext that it made just now, and still not this one, it is this one's fault.
func decrypt(s *session, try func(*session) ([]byte, error), probe func(*session) error) ([]byte, error) {
	plaintext, err := try(s)
	if hasErrorCode(err, pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_FUNCTION_FAILED, pkcs11.CKR_HOST_MEMORY) && isOp(err, opDecrypt) {
		fresh := session{g: s.g}
		var failed error
		if fresh.h, failed = s.g.p.OpenSession(s.g.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION); failed != nil {
			return nil, err
		}
		defer func() { _ = s.g.p.CloseSession(fresh.h) }()
		if probe(&fresh) != nil {
			return nil, err
		}
		if plaintext, failed = try(&fresh); failed == nil {
			return plaintext, nil
		}
		return nil, provider.ErrCiphertext
	}
	if errors.Is(err, provider.ErrCiphertext) {
		return nil, provider.ErrCiphertext // with one text, whatever the code was
	}
	return plaintext, err
}

func isOp(err error, op string) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Op == op
}

func errOtherSpec() error {
	return fmt.Errorf("%w: the material is of another spec", provider.ErrNoKey)
}

// noCipher is the part of an opened key that does not encrypt.
type noCipher struct{}

func (noCipher) Encrypt(context.Context, []byte, []byte, []byte) ([]byte, error) {
	return nil, unsupported("the key does not encrypt")
}

func (noCipher) Decrypt(context.Context, []byte, []byte, []byte) ([]byte, error) {
	return nil, unsupported("the key does not decrypt")
}
