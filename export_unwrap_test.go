package kms

// Unwrap takes material out of its wrapping, as ImportKeyMaterial does with the private key
// that is in the token.
func Unwrap(algorithm WrappingAlgorithm, pkcs8, wrapped []byte) (material []byte, ok bool) {
	return (&importToken{Algorithm: algorithm, Private: pkcs8}).unwrap(wrapped)
}
