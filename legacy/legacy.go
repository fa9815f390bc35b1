// Package legacy is the contract between the key management service and keys of other
// systems, whose ciphertexts it opens and whose keys it takes over. It is for those who write
// a Source. Programs that use keys import package kms.
//
// A Source knows one kind of ciphertexts, its scheme. It tells which key versions a ciphertext
// may be of, yields the keys that it has, and opens them. It encrypts nothing and changes
// nothing: new ciphertexts are the service's own.
//
// When a key is taken over, the service keeps its material, sealed, with the scheme and the
// locator of each version. The Source then no longer needs the key, but its Locate and Open
// are needed for as long as there are old ciphertexts. So both work without any key, and what
// Open takes stays readable in later versions of a Source.
//
// Package legacytest proves a Source.
package legacy

import (
	"context"
	"errors"
	"iter"
)

// What a Source and its Openers answer. They may wrap them; callers match with errors.Is. No
// text of an error may hold a byte of a key, a plaintext, a ciphertext or an encryption context.
var (
	// ErrCiphertext is Decrypt's one answer for whatever is not a ciphertext of this key
	// version under this encryption context.
	ErrCiphertext = errors.New("legacy: not a ciphertext of this key version and encryption context")

	// ErrMaterial is Open's answer to what is not material that a Source of the scheme gave
	// for a version of that locator.
	ErrMaterial = errors.New("legacy: not material of this scheme and locator")

	// ErrUnsupported means that this Source, or this program (one that runs with
	// GODEBUG=fips140=only, for example), does not open keys of that kind.
	ErrUnsupported = errors.New("legacy: keys of that kind are not opened here")

	// ErrKey means that a key is not one that a Source may yield; Key.Check says what is wrong.
	ErrKey = errors.New("legacy: not a key that a source may yield")
)

// Source is keys of another system, and the kind of ciphertexts that they made. All methods may
// be called by many goroutines at once. No method modifies what it is given, or keeps it.
type Source interface {
	// Scheme names the kind of ciphertexts, as "kms-1.0": 1 to 32 bytes of a-z, 0-9, dot and
	// dash. It is always the same. It is kept with keys that are taken over, and so may not
	// come to mean anything else.
	Scheme() string

	// Locate tells from a ciphertext alone which key versions may have made it: their locators,
	// the likeliest first, at most 4 and none twice. None means that this is no ciphertext of
	// the scheme. The answer depends on nothing else, in particular not on the keys that the
	// Source has; for the same ciphertext it is always the same. Several versions, also of several
	// keys, may have one locator; then each is tried.
	Locate(ciphertext []byte) []string

	// Keys yields all keys that the Source has, ascending by ID, each as Key.Check wants it. It
	// stops after the first error. A Source whose keys were all taken over has none.
	Keys(ctx context.Context) iter.Seq2[Key, error]

	// Open makes a key version ready to decrypt. The material is what Version.Material gave,
	// here or in another Source of the scheme, and the locator that of the version. What is not
	// is ErrMaterial, as far as that can be told.
	Open(locator string, material []byte) (Opener, error)
}

// Opener is one opened key version. The service keeps it, calls it from many goroutines and
// drops it without a word.
type Opener interface {
	// Decrypt returns the plaintext, or nil and ErrCiphertext. What an encryption context means,
	// the Source says; nil and empty are the same. It may not modify its inputs, nor keep them.
	Decrypt(ciphertext []byte, ec map[string]string) ([]byte, error)
}
