package keyring

// Parts of a file, for tests that make odd ones.
var (
	Unseal = unseal
	Decode = decode
)

// Encode is the list in a file.
func (s *Source) Encode() ([]byte, error) { return s.encode() }
