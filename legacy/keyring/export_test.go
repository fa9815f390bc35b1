package keyring

// Parts of a file, for tests that make odd ones.
var (
	Unseal     = unseal
	EncodeKeys = encodeKeys
	DecodeKeys = decodeKeys
)
