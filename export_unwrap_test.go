package kms

import "github.com/keyhold/kms/internal/wrapping"

// Unwrap takes material out of its wrapping, as ImportKeyMaterial does with the private key
// that is in the token.
func Unwrap(algorithm WrappingAlgorithm, pkcs8, wrapped []byte) (material []byte, ok bool) {
	return wrapping.Unwrap(schemes[algorithm], pkcs8, wrapped)
}
