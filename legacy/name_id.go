package legacy

import (
	"crypto/sha256"
	"encoding/hex"
)

// NameID returns the ID of a key in a system where keys have names and no UUIDs. It is a UUID of
// version 8 (RFC 9562, section 5.8) made of the SHA-256 of scheme and name: the same for the same
// two, at any time and place. Whoever can guess a name knows its ID.
func NameID(scheme, name string) string {
	// No scheme has a zero byte, and so no two pairs give the same input.
	sum := sha256.Sum256([]byte("keyhold legacy key 1\x00" + scheme + "\x00" + name))
	b := sum[:16]
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
