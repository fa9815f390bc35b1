package kms

import "github.com/keyhold/kms/internal/wire"

// MaxCiphertext is the most that Decrypt takes, in bytes; no ciphertext is longer.
const MaxCiphertext = wire.MaxCiphertext

// suiteOf is how keys of a protection level seal.
func suiteOf(p Protection) wire.Suite {
	if p == ProtectionHSM {
		return wire.HSM
	}
	return wire.Software
}

// CiphertextInfo is what a ciphertext says of itself, to anybody. Nothing proves it, not even that
// Decrypt opened the ciphertext: one that a key of another system made may look like one of this
// service, and name any key. Which key it was that opened a ciphertext, DecryptWithKey says, and
// the Event that Config.Observe gets.
type CiphertextInfo struct {
	KeyID      string
	KeyVersion int
	Protection Protection // where that key lives
}

// Inspect reads what a ciphertext says of itself, without a key and without a key store.
// What does not look like a ciphertext of this package gives ErrCiphertext.
func Inspect(ciphertext []byte) (CiphertextInfo, error) {
	h, _, ok := wire.Parse(ciphertext)
	if !ok {
		return CiphertextInfo{}, refuse(opInspect, "", ErrCiphertext)
	}
	level := ProtectionSoftware
	if h.Suite == wire.HSM {
		level = ProtectionHSM
	}
	return CiphertextInfo{KeyID: h.ID.String(), KeyVersion: int(h.Version), Protection: level}, nil
}
