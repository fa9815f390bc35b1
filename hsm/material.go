//go:build cgo

package hsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/keyhold/kms/provider"
)

// An objectID is the CKA_ID of an object: 16 random bytes.
type objectID [16]byte

func (id objectID) String() string { return hex.EncodeToString(id[:]) }

// A reference is the material of a hardware key: which object it is. On the wire:
//
//	format (1 byte, 1) || CKA_ID of the witness (16) || CKA_ID of the key (16) ||
//	spec, use, id, public half: each its length (2 bytes, big-endian) and its bytes ||
//	SHA-256 of all that precedes (32)
//
// The public half is a SubjectPublicKeyInfo in DER, and empty where there is none. The hash finds
// damage; what protects a reference from being replaced is the service's seal around it.
type reference struct {
	witness, object objectID
	spec            provider.Spec
	use             provider.Use
	id              string
	public          []byte
}

const (
	referenceFormat  = 1
	referenceMaxSize = 4 << 10
	referenceMaxID   = 128
)

func (r reference) encode() []byte {
	b := append([]byte{referenceFormat}, r.witness[:]...)
	b = append(b, r.object[:]...)
	for _, field := range [][]byte{[]byte(r.spec), []byte(r.use), []byte(r.id), r.public} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(field)))
		b = append(b, field...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// parseReference accepts what encode writes and nothing else.
func parseReference(b []byte) (r reference, err error) {
	if len(b) > referenceMaxSize || len(b) < 1+16+16+sha256.Size || b[0] != referenceFormat {
		return r, fmt.Errorf("%w: the material is no reference to a key in a token", provider.ErrNoKey)
	}
	body, hash := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	// The hash is no secret and no MAC: the time that comparing takes tells nothing.
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], hash) {
		return r, fmt.Errorf("%w: the material is damaged", provider.ErrNoKey)
	}
	rest := body[1:]
	rest = rest[copy(r.witness[:], rest):]
	rest = rest[copy(r.object[:], rest):]
	var fields [4][]byte
	for i := range fields {
		if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
			return reference{}, fmt.Errorf("%w: the material is damaged", provider.ErrNoKey)
		}
		n := int(binary.BigEndian.Uint16(rest))
		fields[i], rest = rest[2:2+n], rest[2+n:]
	}
	if len(rest) > 0 {
		return reference{}, fmt.Errorf("%w: the material is damaged", provider.ErrNoKey)
	}
	r.spec, r.use, r.id = provider.Spec(fields[0]), provider.Use(fields[1]), string(fields[2])
	r.public = bytes.Clone(fields[3])
	return r, nil
}

// referenceOf is the reference in material that was made for that id.
func referenceOf(id string, material []byte) (reference, error) {
	r, err := parseReference(material)
	if err == nil && r.id != id {
		return reference{}, fmt.Errorf("%w: the material is of another id", provider.ErrNoKey)
	}
	return r, err
}
