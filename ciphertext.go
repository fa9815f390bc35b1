package kms

import "encoding/binary"

// A ciphertext is
//
//	format (1) | suite (1) | flags (1) | key ID (16) | key version (4) | payload
//
// with the numbers big endian. The format is 1 and no flag is defined. The payload is
// sealed with associated data: the 23 bytes before it and, if there is an encryption
// context, the SHA-256 of its canonical encoding.
type header struct {
	suite   suite
	id      keyID
	version uint32
}

const (
	headerSize = 1 + 1 + 1 + 16 + 4
	format1    = 1

	// contextSize is the size of what stands for an encryption context.
	contextSize = 32

	// overhead is as much as any suite adds to a plaintext.
	overhead = 72
)

// MaxCiphertext is the most that Decrypt takes, in bytes; no ciphertext is longer.
const MaxCiphertext = 8192

// A suite is how a payload is sealed. A key has the suite of its protection level; a
// ciphertext cannot choose.
type suite byte

const (
	suiteSoftware suite = 1 // XAES-256-GCM over 32 zero bytes and the plaintext
	suiteHSM      suite = 2 // AES-GCM in the token over 32 zero bytes and the plaintext
)

func suiteOf(p Protection) suite {
	if p == ProtectionHSM {
		return suiteHSM
	}
	return suiteSoftware
}

func (h header) append(b []byte) []byte {
	b = append(b, format1, byte(h.suite), 0)
	b = append(b, h.id[:]...)
	return binary.BigEndian.AppendUint32(b, h.version)
}

// parseHeader splits a ciphertext. It accepts only what append writes.
func parseHeader(ciphertext []byte) (h header, payload []byte, ok bool) {
	if len(ciphertext) < headerSize || len(ciphertext) > MaxCiphertext || ciphertext[0] != format1 || ciphertext[2] != 0 {
		return header{}, nil, false
	}
	h = header{suite(ciphertext[1]), keyID(ciphertext[3:19]), binary.BigEndian.Uint32(ciphertext[19:])}
	known := h.suite == suiteSoftware || h.suite == suiteHSM
	return h, ciphertext[headerSize:], known && h.version > 0
}

// CiphertextInfo is what a ciphertext says of itself, to anybody. None of it is proven
// until the ciphertext was decrypted.
type CiphertextInfo struct {
	KeyID      string
	KeyVersion int
	Protection Protection // where the key lives that opens it
}

// Inspect reads what a ciphertext says of itself, without a key and without a key store.
// What is no ciphertext of this package gives ErrCiphertext.
func Inspect(ciphertext []byte) (CiphertextInfo, error) {
	h, _, ok := parseHeader(ciphertext)
	if !ok {
		return CiphertextInfo{}, refuse(opInspect, "", ErrCiphertext)
	}
	level := ProtectionSoftware
	if h.suite == suiteHSM {
		level = ProtectionHSM
	}
	return CiphertextInfo{KeyID: h.id.String(), KeyVersion: int(h.version), Protection: level}, nil
}
