package hsm

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyhold/kms/provider"
)

var (
	// ErrCredentials means that the token does not take the PIN: it is wrong, expired or
	// locked. Nothing is tried again with that PIN.
	ErrCredentials = errors.New("hsm: the token does not take the PIN")

	// ErrKeyPolicy means that the token will not have a key be, or be used, as was asked.
	ErrKeyPolicy = errors.New("hsm: the token's rules for keys forbid it")
)

// Error is an answer of the module that was no success. It matches what the answer means:
// provider.ErrUnavailable, provider.ErrUnsupported, ErrCredentials, ErrKeyPolicy. That a
// ciphertext is none has no Error, but is provider.ErrCiphertext with one text, whatever the
// module said.
type Error struct {
	Op   string // the function that was called, as C_Encrypt
	Code uint   // its return value, a CKR_ constant of PKCS#11
	Err  error  // what that means
}

func (e *Error) Error() string { return fmt.Sprintf("hsm: %s: %s: %v", e.Op, codeName(e.Code), e.Err) }

// Unwrap returns what the answer means.
func (e *Error) Unwrap() error { return e.Err }

// newError gives an answer its meaning. That of a ciphertext is for those who decrypt.
func newError(op string, code uint) *Error {
	meaning := meaningOf(code)
	if meaning == provider.ErrCiphertext && op != opDecrypt {
		meaning = provider.ErrUnavailable
	}
	return &Error{Op: op, Code: code, Err: meaning}
}

const opDecrypt = "C_Decrypt"

// unavailable is an error that no answer of the module stands behind.
func unavailable(what string) error { return fmt.Errorf("%w: %s", provider.ErrUnavailable, what) }

func unsupported(what string) error { return fmt.Errorf("%w: %s", provider.ErrUnsupported, what) }

// late is the error of a call whose context has ended.
func late(ctx context.Context) error {
	return fmt.Errorf("%w: %w", provider.ErrUnavailable, context.Cause(ctx))
}
