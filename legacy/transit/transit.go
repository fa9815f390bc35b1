// Package transit opens the ciphertexts of the transit engine of Vault and OpenBao over keys that
// were exported there. It is for programs that set up the key management service; they use keys
// through package kms. A ciphertext is
//
//	vault:v<version>:<base64 of nonce | ciphertext | tag>
//
// where the nonce has 12 bytes (24 for xchacha20-poly1305) and the tag 16. Keys of the types
// aes128-gcm96, aes256-gcm96, chacha20-poly1305 and xchacha20-poly1305 (of OpenBao) are taken.
//
// # The encryption context
//
// Transit has associated data instead: it takes them as base64 in the parameter associated_data,
// and authenticates the decoded bytes. Here they are the value of the one pair with the key
// ContextKey, decoded, as they are. No associated data is no encryption context. A ciphertext opens
// under no other context. What transit calls the context derives keys, which are not taken.
//
// # Names
//
// A ciphertext names the version of its key and not the key. So all keys of one version have one
// locator, and each is tried. That is quick, and which key it was is certain: the ciphertext
// authenticates under that key alone, unless somebody who has two of the keys made it so.
package transit

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/keyhold/kms/legacy"
)

// Scheme is the name of the ciphertexts' kind.
const Scheme = "vault-transit"

// ContextKey is the key of the one pair of an encryption context: its value is the associated data.
const ContextKey = "associated_data"

// ErrExport is the answer to what is no export of a key. The text says why, and quotes nothing.
var ErrExport = errors.New("transit: refused as the export of a key")

// Export is one key, in the words of the engine.
type Export struct {
	// Key is the answer to GET <mount>/export/encryption-key/<name>, in JSON: whole, or what
	// its field "data" has. Required.
	Key []byte

	// Info is the answer to GET <mount>/keys/<name>, whole or its data. It says what an export
	// does not: when versions were made, whether the key was imported or rotates by itself, and
	// whether it is derived, and so cannot be taken. Without it the times are zero, and of a
	// derived key nothing opens.
	Info []byte

	// Mount tells keys of one name apart, as "payments/transit". It becomes part of the key's ID
	// and may not change. Empty is right where there is one mount.
	Mount string
}

// Source is the keys of some exports. It is made by New. All methods may be called by many
// goroutines at once. No printer reaches the material.
type Source struct {
	keys legacy.List
}

var _ legacy.Source = (*Source)(nil)

// New returns the Source of some exports, which it does not keep. The ID of a key is
// legacy.NameID of Scheme and its name, behind the mount and a slash where there is a mount; its
// description is that name. A key that is derived or of a type that is not taken is
// legacy.ErrUnsupported. Whatever else is wrong is ErrExport, and so is a key whose bytes are all the
// same. Without exports, the Source opens the keys that were taken over.
func New(exports ...Export) (*Source, error) {
	keys := make([]legacy.Key, 0, len(exports))
	for _, e := range exports {
		k, err := e.parse()
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	list, err := legacy.NewList(keys...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrExport, err)
	}
	return &Source{list}, nil
}

// Scheme returns the constant Scheme.
func (s *Source) Scheme() string { return Scheme }

// Locate returns v and the version of a ciphertext, or none where it is not spelled as the engine
// does it: version and base64 have one spelling each.
func (s *Source) Locate(ciphertext []byte) []string {
	locator, _, ok := split(ciphertext)
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

// Open makes the version ready to decrypt what names it. Keys of the two ChaCha types are
// legacy.ErrUnsupported in a program that runs with GODEBUG=fips140=only.
func (s *Source) Open(locator string, material []byte) (legacy.Opener, error) {
	return open(locator, material)
}
