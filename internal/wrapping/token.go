package wrapping

import (
	"encoding/binary"
	"time"

	"github.com/keyhold/kms/internal/keyid"
)

// Token is what an import token holds: with it, any process can finish an import that another one
// began, and the store keeps nothing of it. Encoded, it is
//
//	key ID (16) || scheme (1) || seconds since 1970 (8) || nanoseconds (4) || private key
//
// with numbers in big-endian.
type Token struct {
	Key       keyid.ID
	Scheme    Scheme
	ExpiresAt time.Time
	Private   []byte // the private half of the wrapping key: PKCS #8
}

const tokenHeader = len(keyid.ID{}) + 1 + 8 + 4

// Encode returns the bytes of a token. The caller wipes them.
func (t Token) Encode() []byte {
	b := make([]byte, 0, tokenHeader+len(t.Private)) // it never grows, and so leaves no copy behind
	b = append(b, t.Key[:]...)
	b = append(b, byte(t.Scheme))
	b = binary.BigEndian.AppendUint64(b, uint64(t.ExpiresAt.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(t.ExpiresAt.Nanosecond()))
	return append(b, t.Private...)
}

// DecodeToken returns the token that Encode encoded. Its private key shares the bytes of b: to wipe
// b wipes it, too.
func DecodeToken(b []byte) (t Token, ok bool) {
	if len(b) <= tokenHeader {
		return Token{}, false
	}
	n := copy(t.Key[:], b)
	t.Scheme = Scheme(b[n])
	seconds, nanoseconds := binary.BigEndian.Uint64(b[n+1:]), binary.BigEndian.Uint32(b[n+9:])
	t.ExpiresAt = time.Unix(int64(seconds), int64(nanoseconds)).UTC()
	t.Private = b[tokenHeader:]
	return t, t.Scheme >= OAEP && t.Scheme <= AESECB && nanoseconds < uint32(time.Second)
}
