package hsm

import (
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

// Error says which function answered what, and nothing of what it was called with.
func (e *Error) Error() string {
	if e == nil {
		return "hsm: no error"
	}
	return fmt.Sprintf("hsm: %s: %s: %v", e.Op, codeName(e.Code), e.Err)
}

// Unwrap returns what the answer means.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

func unsupported(what string) error { return fmt.Errorf("%w: %s", provider.ErrUnsupported, what) }
