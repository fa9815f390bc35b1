// Package wire is what a ciphertext looks like: its header, and the associated data that binds a
// payload to the header and to an encryption context.
package wire

import (
	"encoding/binary"

	"github.com/keyhold/kms/internal/keyid"
)

// Header is the start of a ciphertext, which is
//
//	format (1) | suite (1) | flags (1) | key ID (16) | key version (4) | payload
//
// with the numbers big endian. The format is 1 and no flag is defined.
type Header struct {
	Suite   Suite
	ID      keyid.ID
	Version uint32
}

const (
	// HeaderSize is the size of a header, in bytes.
	HeaderSize = 1 + 1 + 1 + 16 + 4

	// Overhead is the most that any suite adds to a plaintext, in bytes.
	Overhead = 72

	// MaxCiphertext is the size of the longest ciphertext, in bytes.
	MaxCiphertext = 8192

	format1 = 1
)

// Suite is how a payload is sealed. A key has the suite of its protection level; a ciphertext
// cannot choose.
type Suite byte

// The suites.
const (
	Software Suite = 1 // XAES-256-GCM over 32 zero bytes and the plaintext
	HSM      Suite = 2 // AES-GCM in the token over 32 zero bytes and the plaintext
)

// Append appends the header to b and returns the extended slice.
func (h Header) Append(b []byte) []byte {
	b = append(b, format1, byte(h.Suite), 0)
	b = append(b, h.ID[:]...)
	return binary.BigEndian.AppendUint32(b, h.Version)
}

// Parse splits a ciphertext into its header and its payload. It accepts only what Append writes.
func Parse(ciphertext []byte) (h Header, payload []byte, ok bool) {
	if len(ciphertext) < HeaderSize || len(ciphertext) > MaxCiphertext || ciphertext[0] != format1 || ciphertext[2] != 0 {
		return Header{}, nil, false
	}
	h = Header{Suite(ciphertext[1]), keyid.ID(ciphertext[3:19]), binary.BigEndian.Uint32(ciphertext[19:])}
	known := h.Suite == Software || h.Suite == HSM
	return h, ciphertext[HeaderSize:], known && h.Version > 0
}
