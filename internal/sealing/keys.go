// Package sealing seals and authenticates what the key store holds. It is the one place that has
// the keys of an instance: nothing else makes or checks a MAC of an item, or chooses the
// associated data under which a secret is sealed.
package sealing

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/keyhold/kms/internal/xaes"
)

// KeySize is the size of an instance key, in bytes.
const KeySize = 32

// Keys are what seals and authenticates the items of one instance. They are derived from the
// instance key, which only the root can open, and are held where no printer reaches them. Many
// goroutines may use them at once.
type Keys struct {
	id         string
	storeID    []byte
	generation uint64
	seal       *xaes.Key
	token      *xaes.Key // seals import tokens
	macKey     func() []byte
	check      []byte // of the instance key
	former     *Keys  // of the previous instance key, while the instance is shredded; nil
}

// Derive derives the keys of an instance from its instance key, and wipes that. StoreID is the ID
// of the key store; generation says which of the instance keys it is.
func Derive(id string, storeID []byte, generation uint64, key []byte) (*Keys, error) {
	if len(key) != KeySize {
		return nil, errors.New("sealing: the instance key is not 32 bytes long")
	}
	defer clear(key)
	k := &Keys{id: id, storeID: storeID, generation: generation}
	var err error
	derive := func(label string) (derived []byte) {
		if err == nil {
			derived, err = hkdf.Expand(sha256.New, key, label, 32)
		}
		return derived
	}
	cipher := func(label string) (c *xaes.Key) {
		derived := derive(label)
		defer clear(derived)
		if err == nil {
			c, err = xaes.New(derived)
		}
		return c
	}
	k.seal, k.token = cipher("keyhold/v1/seal"), cipher("keyhold/v1/import-token")
	macKey := derive("keyhold/v1/record-mac")
	k.macKey = func() []byte { return macKey }
	k.check = derive("keyhold/v1/key-check")
	if err != nil {
		return nil, fmt.Errorf("sealing: deriving the keys of an instance: %w", err)
	}
	return k, nil
}

// ID returns the ID of the instance.
func (k *Keys) ID() string { return k.id }

// StoreID returns the ID of the key store.
func (k *Keys) StoreID() []byte { return k.storeID }

// Generation says which of the instance keys these are derived from.
func (k *Keys) Generation() uint64 { return k.generation }

// Check returns the check value of the instance key. Equal values are of one instance key, whatever
// the store, the instance and the generation; the value is no secret and leads to none.
func (k *Keys) Check() []byte { return k.check }

// Former returns the keys of the previous instance key while the instance is shredded, else nil.
func (k *Keys) Former() *Keys { return k.former }

// WithFormer returns the same keys with others as their former ones; nil takes these away.
func (k *Keys) WithFormer(former *Keys) *Keys {
	out := *k
	out.former = former
	return &out
}

// Join joins parts so that no other parts give the same bytes: each after its length.
func Join(parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += 4 + len(p)
	}
	b := make([]byte, 0, size) // it never grows: a part may be a secret, and a copy would stay behind
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

// errNoAES is what Append returns where xaes.New should have failed before.
var errNoAES = errors.New("sealing: AES is not available")

// Append appends the plaintext to dst, sealed with key under that associated data, and returns the
// extended slice.
func Append(key *xaes.Key, dst, plaintext, associatedData []byte) ([]byte, error) {
	sealed := key.Seal(dst, plaintext, associatedData)
	if sealed == nil {
		return nil, errNoAES
	}
	return sealed, nil
}
