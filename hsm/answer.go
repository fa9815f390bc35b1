//go:build cgo

package hsm

import (
	"context"
	"fmt"

	"github.com/keyhold/kms/provider"
)

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
