package software

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/keyhold/kms/internal/xaes"
)

// AES-GCM does not commit to its key: whoever chooses two keys can make one ciphertext
// that opens under both. What this package seals, it seals with 32 zero bytes in front of
// the plaintext, and opens only if they are there. A ciphertext for two keys would need
// two key streams that agree in their first 32 bytes, which takes 2^128 tries to find.
const commitmentSize = 32

// sealedOverhead is how many bytes sealCommitted adds to a plaintext.
const sealedOverhead = xaes.Overhead + commitmentSize

// errSeal says that the toolchain's AES-GCM failed after it had worked for the same key.
var errSeal = errors.New("software: AES-GCM stopped working")

// sealCommitted appends to dst the XAES-256-GCM ciphertext of 32 zero bytes and the
// plaintext. The spare capacity of dst may not overlap the inputs.
func sealCommitted(k *xaes.Key, dst, plaintext, associatedData []byte) ([]byte, error) {
	out := slices.Grow(dst, sealedOverhead+len(plaintext))
	// The zeros and the plaintext are put where Seal encrypts in place.
	at := len(out) + xaes.PlaintextAt
	padded := out[at : at+commitmentSize+len(plaintext)]
	copy(padded[commitmentSize:], plaintext)
	clear(padded[:commitmentSize])
	sealed := k.Seal(out, padded, associatedData)
	if sealed == nil {
		clear(padded)
		return nil, errSeal
	}
	return sealed, nil
}

// openCommitted appends to dst the plaintext of what sealCommitted made, or reports false
// and leaves nothing of it in dst's spare capacity, which may not overlap the inputs.
func openCommitted(k *xaes.Key, dst, sealed, associatedData []byte) ([]byte, bool) {
	if len(sealed) < sealedOverhead {
		return nil, false
	}
	out, err := k.Open(dst, sealed, associatedData)
	if err != nil {
		return nil, false
	}
	padded := out[len(dst):]
	if !zeros([commitmentSize]byte(padded)) {
		clear(padded)
		return nil, false
	}
	if cap(dst) == 0 { // the result need not begin where out does
		return padded[commitmentSize:], true
	}
	n := copy(padded, padded[commitmentSize:])
	clear(padded[n:])
	return out[:len(dst)+n], true
}

// zeros tells whether all bytes are zero, in a time that does not depend on them.
func zeros(b [commitmentSize]byte) bool {
	var all uint64
	for i := 0; i < len(b); i += 8 {
		all |= binary.NativeEndian.Uint64(b[i:])
	}
	return all == 0
}
