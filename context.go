package kms

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
)

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
		return invalid(op, "the encryption context has more than 64 pairs")
	}
	size := 0
	for key, value := range ec {
		if key == "" {
			return invalid(op, "the encryption context has an empty key")
		}
		size += len(key) + len(value)
	}
	if size > MaxContextBytes {
		return invalid(op, "the encryption context is longer than 8192 bytes")
	}
	return nil
}

// canonical appends the one encoding of ec: the number of pairs, then the pairs in the
// order of their keys' bytes, every string behind its length; numbers are 4 bytes, big
// endian. No two contexts have the same.
func (ec EncryptionContext) canonical(b []byte) []byte {
	var few [8]string
	keys := few[:0]
	for key := range ec {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	b = binary.BigEndian.AppendUint32(b, uint32(len(keys)))
	for _, key := range keys {
		b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
		b = append(b, key...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(ec[key])))
		b = append(b, ec[key]...)
	}
	return b
}

// bound is the associated data of a payload.
type bound struct {
	data []byte
	room *boundRoom // that data is in, to be used again; nil: there is none
}

type boundRoom [headerSize + contextSize]byte

var boundRooms = sync.Pool{New: func() any { return new(boundRoom) }}

// bind makes the associated data of a header and an encryption context: the header and, if
// there is a context, the SHA-256 of its canonical encoding. Without one it is the header
// itself.
func bind(header []byte, ec EncryptionContext) bound {
	if len(ec) == 0 {
		return bound{data: header}
	}
	var few [256]byte
	sum := sha256.Sum256(ec.canonical(few[:0]))
	room := boundRooms.Get().(*boundRoom)
	return bound{append(append(room[:0], header...), sum[:]...), room}
}

// free gives up the associated data, after its use.
func (b bound) free() {
	if b.room != nil {
		boundRooms.Put(b.room)
	}
}
