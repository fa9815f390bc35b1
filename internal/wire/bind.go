package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
)

// AppendContext appends the one encoding of an encryption context to b: the number of pairs, then
// the pairs in the order of their keys' bytes, every string after its length; numbers are 4 bytes,
// big endian. No two contexts have the same encoding.
func AppendContext(b []byte, context map[string]string) []byte {
	var few [8]string
	keys := few[:0]
	for key := range context {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	b = binary.BigEndian.AppendUint32(b, uint32(len(keys)))
	for _, key := range keys {
		b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
		b = append(b, key...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(context[key])))
		b = append(b, context[key]...)
	}
	return b
}

// Bound is the associated data of a payload.
type Bound struct {
	Data []byte
	room *room // that Data is in, to be used again; nil: there is none
}

type room [HeaderSize + sha256.Size]byte

var rooms = sync.Pool{New: func() any { return new(room) }}

// Bind makes the associated data of a header and an encryption context: the header and, if there
// is a context, the SHA-256 of its encoding. Without a context it is the header itself.
func Bind(header []byte, context map[string]string) Bound {
	if len(context) == 0 {
		return Bound{Data: header}
	}
	var few [256]byte
	sum := sha256.Sum256(AppendContext(few[:0], context))
	r := rooms.Get().(*room)
	return Bound{append(append(r[:0], header...), sum[:]...), r}
}

// Free gives up the associated data, after its use.
func (b Bound) Free() {
	if b.room != nil {
		rooms.Put(b.room)
	}
}
