// Package tinkset opens what was encrypted with keysets of Tink, of its AEAD primitive: with keys
// of AES-GCM, AES-GCM-SIV, AES-CTR-HMAC, XAES-GCM, ChaCha20-Poly1305 and XChaCha20-Poly1305. It
// is for programs that set up the key management service; they use keys through package kms.
//
// A keyset becomes one key, and each of its keys a version, with its material: a keyset of that
// key alone, in Tink's binary form.
//
// # The encryption context
//
// Tink has associated data instead. As in package tinkkms, they are the value of the one pair with
// the key ContextKey, in lower-case hex, and no associated data is no encryption context. A
// ciphertext opens under no other context.
//
// # Prefixes
//
// Most keys put a prefix with their key ID in front of a ciphertext: its 8 digits in lower-case hex
// are the locator. A key without prefix has the locator "raw". Whether a ciphertext has a prefix
// cannot be told, for one without may look as if it had. So whatever begins like a prefix has both
// locators, and whatever else is long enough has "raw". With "raw" all keys without prefix are
// tried, one after the other: better for ten than for a thousand.
package tinkset

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/keyhold/kms/legacy"
)

// Scheme is the name of the ciphertexts' kind.
const Scheme = "tink-aead"

// ContextKey is the key of the one pair of an encryption context: its value is the associated
// data in lower-case hex.
const ContextKey = "associatedData"

// ErrKeyset is the answer to a keyset that cannot be taken. The text says why.
var ErrKeyset = errors.New("tinkset: refused as a keyset")

// Keyset is a keyset and what Tink does not know of it.
type Keyset struct {
	Name      string         // the key's ID is made of it, and so it may not change; required
	Handle    *keyset.Handle // required
	CreatedAt time.Time      // zero where nobody knows
}

// Source is the keys of some keysets. It is made by New. All methods may be called by many
// goroutines at once. No printer reaches the material.
type Source struct {
	keys legacy.List
}

var _ legacy.Source = (*Source)(nil)

// New returns the Source of some keysets. The ID of a key is legacy.NameID of Scheme and the
// name, its description the name. The versions are in the order of the keyset, the primary last.
// Keys that are disabled or destroyed are left out, for Tink does not decrypt with them. A key
// of another kind, such as one that a KMS holds, is legacy.ErrUnsupported. A keyset without name
// or handle or keys that decrypt, a key whose bytes are all the same, and a name that is there twice,
// are ErrKeyset.
// Without keysets, the Source opens those that were taken over.
func New(sets ...Keyset) (*Source, error) {
	keys := make([]legacy.Key, 0, len(sets))
	for _, set := range sets {
		if set.Name == "" || set.Handle == nil {
			return nil, fmt.Errorf("%w: it has no name or no handle", ErrKeyset)
		}
		versions, err := versionsOf(set.Handle)
		if err != nil {
			return nil, err
		}
		k := legacy.Key{ID: legacy.NameID(Scheme, set.Name), Description: set.Name, CreatedAt: set.CreatedAt, Versions: versions}
		keys = append(keys, k)
	}
	list, err := legacy.NewList(keys...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyset, err)
	}
	return &Source{list}, nil
}

// Scheme returns the constant Scheme.
func (s *Source) Scheme() string { return Scheme }

// Locate returns the key ID in the prefix, if there may be one, and "raw", or none for what is
// shorter than any ciphertext of Tink (22 bytes).
func (s *Source) Locate(ciphertext []byte) []string { return locate(ciphertext) }

// Keys yields the keys, ascending by ID. A nil Source yields legacy.ErrKey.
func (s *Source) Keys(ctx context.Context) iter.Seq2[legacy.Key, error] {
	if s == nil {
		return func(yield func(legacy.Key, error) bool) { yield(legacy.Key{}, errNoSource) }
	}
	return s.keys.Keys(ctx)
}

// errNoSource is what a nil Source yields: without an error it would pass for one without keys.
var errNoSource = fmt.Errorf("%w: the %s Source is nil, make it with New", legacy.ErrKey, Scheme)

// Open makes the version ready to decrypt what was encrypted with it. In a program that runs with
// GODEBUG=fips140=only, Tink refuses its AEADs: that is legacy.ErrUnsupported.
func (s *Source) Open(locator string, material []byte) (legacy.Opener, error) {
	return open(locator, material)
}
