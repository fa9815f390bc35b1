package software

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/keyhold/kms/provider"
)

// Material on the wire:
//
//	format (1 byte, 1) || length of the id (1 byte, 1 to 128) || id ||
//	keyset (Tink's binary form) || SHA-256 of all that precedes (32 bytes)
//
// The hash finds damage; whoever can write material can also write its hash. What
// protects material from being read or replaced is the service's seal around it.
//
// The keyset stays as Tink wrote it, and is never compared with how Tink would write it
// now: a later protobuf library may order its bytes otherwise, and keys must not be lost
// of that.
const (
	materialFormat  = 1
	materialMaxSize = 64 << 10
	materialMaxID   = 128
)

// errID is Generate's answer to an id that the contract does not allow.
var errID = fmt.Errorf("software: an id has 1 to 128 bytes: %w", provider.ErrUnsupported)

// material is the key of one id.
type material struct {
	id     string
	keyset []byte
}

func (m material) encode() ([]byte, error) {
	if len(m.id) < 1 || len(m.id) > materialMaxID {
		return nil, errID
	}
	size := 2 + len(m.id) + len(m.keyset) + sha256.Size
	b := make([]byte, 0, size)
	b = append(b, materialFormat, byte(len(m.id)))
	b = append(b, m.id...)
	b = append(b, m.keyset...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...), nil
}

// parseMaterial accepts what encode writes and nothing else. Whether the keyset is one of
// ours is for keyOfKeyset to say. The material returned shares the bytes of b.
func parseMaterial(b []byte) (material, error) {
	switch {
	case len(b) > materialMaxSize:
		return material{}, fmt.Errorf("%w: the material is too long", provider.ErrNoKey)
	case len(b) < 2+1+sha256.Size:
		return material{}, fmt.Errorf("%w: the material is too short", provider.ErrNoKey)
	case b[0] != materialFormat:
		return material{}, fmt.Errorf("%w: the material's format is unknown", provider.ErrNoKey)
	}
	body, hash := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	// The hash is no secret and no MAC: the time that comparing takes tells nothing.
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], hash) {
		return material{}, fmt.Errorf("%w: the material is damaged", provider.ErrNoKey)
	}
	n, rest := int(body[1]), body[2:]
	if n < 1 || n > materialMaxID || n > len(rest) {
		return material{}, fmt.Errorf("%w: the material has no id", provider.ErrNoKey)
	}
	return material{id: string(rest[:n]), keyset: rest[n:]}, nil
}
