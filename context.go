package kms

// EncryptionContext is what a ciphertext is bound to: pairs that say what it is for, as
// {"tenant": "7", "table": "invoices"}. It is not secret, is not part of the ciphertext,
// and must be given again, equal, to decrypt. Nil and empty are the same. It has up to
// 64 pairs and 8192 bytes in all keys and values together; no key is empty.
type EncryptionContext map[string]string

// Bounds of an EncryptionContext.
const (
	MaxContextPairs = 64
	MaxContextBytes = 8192
)

func (ec EncryptionContext) check(op Op) error {
	if len(ec) == 0 {
		return nil
	}
	if len(ec) > MaxContextPairs {
		return invalid(op, "the encryption context has more than %d pairs", MaxContextPairs)
	}
	size := 0
	for key, value := range ec {
		if key == "" {
			return invalid(op, "a key of the encryption context is empty")
		}
		size += len(key) + len(value)
	}
	if size > MaxContextBytes {
		return invalid(op, "the encryption context is longer than %d bytes", MaxContextBytes)
	}
	return nil
}
