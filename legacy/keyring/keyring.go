// Package keyring opens the ciphertexts of the 1.0 edition of the cloud service, whose layout is
//
//	key version (36, a UUID in ASCII) | IV (12) | AES-GCM ciphertext | tag (16)
//
// over keys that are kept in a file, sealed under a root. It is for programs that set up the key
// management service; they use keys through package kms.
//
// # The encryption context
//
// The associated data of a ciphertext is the SHA-256 of the pairs of the context, sorted by key,
// each written key=value, joined by &. Without a context it is empty. This is not injective:
// {"a": "b&c=d"} and {"a": "b", "c": "d"} are the same. So whoever may choose parts of a context
// could open a ciphertext under a context that it was not made with. That is how the old
// ciphertexts are, and it is good for opening them, and for nothing else. What is encrypted anew
// by package kms does not have this fault.
//
// # The file
//
// A keyring file is one line of JSON, made by Create and read by Open:
//
//	{"format":"keyhold-keyring-1","key":"…","keys":"…"}
//
// key is the base64 of 32 random bytes, made for this file alone, as the root sealed them under the
// associated data "keyhold-keyring-1 key". keys is the base64 of an IV (12), and of the AES-256-GCM
// ciphertext and tag under that key of a JSON list, with the associated data "keyhold-keyring-1
// keys". The list has an entry for each key, ascending by ID, with all its fields there:
//
//	{"id":"…","description":"…","created":"2020-01-02T03:04:05Z","imported":false,"rotates":false,"versions":[…]}
//
// and each of its versions, the oldest first, is
//
//	{"id":"…","created":"2020-01-02T03:04:05Z","material":"…"}
//
// where material is the base64 of an AES key of 16, 24 or 32 bytes. Nothing of it can be read or
// changed without the root. Only what Create would have written is accepted. There is no plain form.
package keyring

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/keyhold/kms/legacy"
)

// Scheme is the name of the ciphertexts' kind.
const Scheme = "kms-1.0"

// ErrKeys is the answer to keys that cannot be in one keyring: the text says why.
var ErrKeys = errors.New("keyring: refused as the keys of a keyring")

// Source is the keys of a keyring. It is made by New or Open. All methods may be called by many
// goroutines at once. No printer reaches the material.
type Source struct {
	keys legacy.List
}

var _ legacy.Source = (*Source)(nil)

// NewVersion returns the version of that ID, a UUID in lower case, whose AES key is key: 16, 24 or
// 32 bytes, which it copies. What is wrong with it, New and Create say.
func NewVersion(id string, createdAt time.Time, key []byte) legacy.Version {
	material := encodeMaterial(key)
	defer clear(material)
	return legacy.NewVersion(id, createdAt, material)
}

// New returns the Source of some keys, whose versions are made by NewVersion. An ID that is
// there twice, of a key or of a version, a key that legacy.Key.Check refuses and material that
// is no AES key, or of which all bytes are the same, are ErrKeys. Without keys, the Source opens
// those that were taken over.
func New(keys ...legacy.Key) (*Source, error) {
	list, err := legacy.NewList(keys...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	if err := checkVersions(keys); err != nil {
		return nil, err
	}
	return &Source{list}, nil
}

func checkVersions(keys []legacy.Key) error {
	seen := map[string]bool{}
	for _, k := range keys {
		for _, v := range k.Versions {
			material := v.Material()
			sound := isKey(material)
			clear(material)
			switch {
			case !legacy.ValidID(v.Locator):
				return fmt.Errorf("%w: the ID of a version is not a UUID in lower case", ErrKeys)
			case seen[v.Locator]:
				return fmt.Errorf("%w: two versions have one ID", ErrKeys)
			case !sound:
				return fmt.Errorf("%w: the material of a version is not an AES key, or its bytes are all the same", ErrKeys)
			}
			seen[v.Locator] = true
		}
	}
	return nil
}

// Scheme returns the constant Scheme.
func (s *Source) Scheme() string { return Scheme }

// Locate returns the ID of the key version with which a ciphertext begins, or none where that is
// no UUID in lower case, or where not even an empty plaintext would fit behind it.
func (s *Source) Locate(ciphertext []byte) []string {
	locator, ok := locate(ciphertext)
	if !ok {
		return nil
	}
	return []string{locator}
}

// Keys yields the keys, ascending by ID. A nil Source yields legacy.ErrKey.
func (s *Source) Keys(ctx context.Context) iter.Seq2[legacy.Key, error] {
	if s == nil {
		return func(yield func(legacy.Key, error) bool) { yield(legacy.Key{}, errNoSource) }
	}
	return s.keys.Keys(ctx)
}

// errNoSource is what a nil Source yields: without an error it would pass for one without keys.
var errNoSource = fmt.Errorf("%w: the %s Source is nil, make it with New", legacy.ErrKey, Scheme)

// Open makes the version ready to decrypt what begins with its ID.
func (s *Source) Open(locator string, material []byte) (legacy.Opener, error) {
	return open(locator, material)
}
