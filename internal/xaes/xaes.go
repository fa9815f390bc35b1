// Package xaes is XAES-256-GCM on the standard library alone: an AEAD with a 256-bit key
// and a random 192-bit nonce, of which one key may seal 2^55 messages here (see
// maxMessages). It is for the packages of this module that seal bytes.
//
// The construction is https://c2sp.org/XAES-256-GCM. The layout is that of a Tink
// XAES-256-GCM key without prefix and with a salt of 12 bytes:
//
//	salt (12) || iv (12) || ciphertext (as long as the plaintext) || tag (16)
//
// The package chooses every nonce itself. It runs with GODEBUG=fips140=only, where
// Tink's implementation is refused. It does not commit to its key: a ciphertext can be
// made that opens under two keys, and whom that may hurt has to add a commitment.
package xaes

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
)

const (
	// KeySize is the size of a key in bytes.
	KeySize = 32

	// SaltSize is the size in bytes of the salt at the start of a ciphertext, from which
	// the message's own key is derived.
	SaltSize = 12

	// PlaintextAt is where in a ciphertext the encrypted plaintext stands.
	PlaintextAt = SaltSize + ivSize

	// Overhead is how many bytes a ciphertext is longer than its plaintext: salt, iv, tag.
	Overhead = SaltSize + ivSize + tagSize

	ivSize  = 12
	tagSize = 16
)

var (
	// ErrKeySize is New's answer to a key that is not KeySize bytes long.
	ErrKeySize = errors.New("xaes: the key is not 32 bytes long")

	// ErrOpen is Open's one answer to whatever was not sealed by this key under this
	// associated data.
	ErrOpen = errors.New("xaes: not sealed by this key under this associated data")
)

// Key seals and opens under one key. Many goroutines may use it at once. It is made by
// New; the zero Key is of no use.
//
// No printer reaches the bytes of the key: they are held by a closure, where reflection
// cannot follow.
type Key struct {
	expanded func() *expanded
}

// New returns the Key of these 32 bytes. It keeps no reference to them.
//
// New fails also where the Go toolchain has no AES-GCM for its AES, so
// that Seal and Open cannot fail of that later.
func New(key []byte) (*Key, error) {
	if len(key) != KeySize {
		return nil, ErrKeySize
	}
	e, err := expand(key)
	if err != nil {
		return nil, err
	}
	if err := e.derive(new(messageKey), false); err != nil {
		return nil, fmt.Errorf("xaes: AES-GCM: %w", err)
	}
	return &Key{expanded: func() *expanded { return e }}, nil
}

// Seal appends the ciphertext of plaintext to dst and returns the extended slice, which
// is Overhead+len(plaintext) bytes longer than dst. It allocates nothing for the result
// if dst has that much capacity to spare.
//
// The spare capacity of dst may not overlap the inputs, with one exception that saves a
// copy: the plaintext may lie exactly where its ciphertext is going to be, at
// dst[len(dst)+PlaintextAt:]. As everywhere in crypto/cipher, other overlaps and plaintexts
// of more than 64 GiB panic.
func (k *Key) Seal(dst, plaintext, associatedData []byte) []byte {
	s, err := k.expanded().sealing()
	if err != nil {
		return nil // cannot be: New has done the same
	}
	out := append(slices.Grow(dst, Overhead+len(plaintext)), s.salt[:]...)
	return s.seal(out, plaintext, associatedData)
}

// SealRandom fills key with random bytes, and appends to dst the ciphertext of zeros zero
// bytes and the key, as Seal does. Key and nonce are one read of the random source where that
// can be. The spare capacity of dst may not overlap the inputs.
func (k *Key) SealRandom(dst, key []byte, zeros int, associatedData []byte) []byte {
	at := len(dst) + PlaintextAt
	out := slices.Grow(dst, Overhead+zeros+len(key))
	padded := out[at : at+zeros+len(key)]
	if approved || zeros < ivSize {
		_, _ = rand.Read(key)
		clear(padded[:zeros])
		copy(padded[zeros:], key)
		sealed := k.Seal(out, padded, associatedData)
		if sealed == nil {
			clear(padded)
		}
		return sealed
	}
	s, err := k.expanded().sealing()
	if err != nil {
		return nil // cannot be: New has done the same
	}
	_, _ = rand.Read(padded[zeros-ivSize:])
	iv := out[at-ivSize : at]
	copy(iv, padded[zeros-ivSize:])
	copy(key, padded[zeros:])
	clear(padded[:zeros])
	return s.gcm.Seal(append(out, s.salt[:]...)[:at], iv, padded, associatedData)
}

// Open appends the plaintext of ciphertext to dst and returns the extended slice, or nil
// and ErrOpen. The spare capacity of dst may not overlap the inputs; after a failure it
// holds nothing of the plaintext.
func (k *Key) Open(dst, ciphertext, associatedData []byte) ([]byte, error) {
	if len(ciphertext) < Overhead {
		return nil, ErrOpen
	}
	e := k.expanded()
	o, kept, err := e.opener([SaltSize]byte(ciphertext))
	if err != nil {
		return nil, ErrOpen // cannot be: New has done the same
	}
	out, err := o.open(dst, ciphertext[SaltSize:], associatedData)
	if err != nil {
		return nil, ErrOpen
	}
	if !kept {
		e.keep(o)
	}
	return out, nil
}
