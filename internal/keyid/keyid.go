// Package keyid makes and reads the IDs of keys.
package keyid

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"
)

// ID identifies a key permanently. It is a UUID of version 7 (RFC 9562), so the IDs of a store grow
// with time and its writes stay together. No ID is used twice.
type ID [16]byte

// String is the form that callers see: 36 characters, lower case.
func (id ID) String() string {
	var s [36]byte
	n := 0
	for i, group := range [...][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			s[n] = '-'
			n++
		}
		n += hex.Encode(s[n:], group)
	}
	return string(s[:])
}

// Compare orders IDs as their texts are ordered.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText writes the ID as String does.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// errText is what UnmarshalText returns.
var errText = errors.New("keyid: not a key ID")

// UnmarshalText accepts what MarshalText writes and nothing else.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, ok := Parse(string(text))
	if !ok {
		return errText
	}
	*id = parsed
	return nil
}

// Parse accepts the one spelling that String writes.
func Parse(s string) (id ID, ok bool) {
	if len(s) != 36 {
		return ID{}, false
	}
	if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, false
	}
	var text [32]byte
	copy(text[:8], s[:8])
	copy(text[8:12], s[9:13])
	copy(text[12:16], s[14:18])
	copy(text[16:20], s[19:23])
	copy(text[20:], s[24:36])
	var all byte
	for i := range id {
		hi, lo := nibbles[text[2*i]], nibbles[text[2*i+1]]
		all |= hi | lo
		id[i] = hi<<4 | lo&15
	}
	if all > 15 {
		return ID{}, false
	}
	return id, true
}

// nibbles are the values of the digits that String writes; 255 is none. This table is read for
// every use of a key.
var nibbles = func() (table [256]byte) {
	for i := range table {
		table[i] = byte(max(-1, strings.IndexByte("0123456789abcdef", byte(i))))
	}
	return table
}()

// Source makes IDs that grow, also within one millisecond and when the clock is set back: the 12
// bits after the timestamp count (RFC 9562, section 6.2, method 1). The zero Source is ready for use.
type Source struct {
	mu   sync.Mutex
	last uint64 // milliseconds << 12 | counter
}

// Next returns an ID that is greater than every one before it, made at now.
func (s *Source) Next(now time.Time) ID {
	at := uint64(max(now.UnixMilli(), 0)) << 12
	s.mu.Lock()
	s.last = max(at, s.last+1)
	at = s.last
	s.mu.Unlock()

	var id ID
	rand.Read(id[8:])
	ms := at >> 12
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = 0x70 | byte(at>>8)&0x0f
	id[7] = byte(at)
	id[8] = 0x80 | id[8]&0x3f
	return id
}
