//go:build cgo

package hsm

import (
	"context"
	"fmt"

	"github.com/keyhold/kms/provider"
	"github.com/miekg/pkcs11"
)

// newError gives an answer its meaning. That of a ciphertext is for those who decrypt. Who asks for
// attributes gives no value that could be invalid: a token whose objects are just going says so.
func newError(op string, code uint) *Error {
	meaning := meaningOf(code)
	if meaning == provider.ErrCiphertext && op != opDecrypt || op == opAttributes && code == pkcs11.CKR_ATTRIBUTE_VALUE_INVALID {
		meaning = provider.ErrUnavailable
	}
	return &Error{Op: op, Code: code, Err: meaning}
}

const (
	opDecrypt    = "C_Decrypt"
	opAttributes = "C_GetAttributeValue"
)

// unavailable is an error that no answer of the module stands behind.
func unavailable(what string) error { return fmt.Errorf("%w: %s", provider.ErrUnavailable, what) }

// meaningOf is what a return value means to those who use keys.
func meaningOf(c uint) error {
	if known, ok := codes[c]; ok {
		return known.meaning
	}
	return provider.ErrUnavailable
}

// late is the error of a call whose context has ended.
func late(ctx context.Context) error {
	return fmt.Errorf("%w: %w", provider.ErrUnavailable, context.Cause(ctx))
}
