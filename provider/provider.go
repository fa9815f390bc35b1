// Package provider is the contract between the key management service and what does
// its cryptography: a software library, a hardware security module. It is for those
// who write a provider. Programs that use keys import package kms.
//
// A Provider makes key material, opens it and destroys it. It decides nothing about a
// key's life: whether a key may be used was settled before it is called. The service
// seals material before it stores it, so that material may be a bare key; a hardware
// provider returns a reference to the object that stays inside. Package providertest
// proves a provider.
package provider

import (
	"context"
	"errors"
	"fmt"
)

// What a Provider answers. It may wrap them; callers match with errors.Is. No text of
// an error may hold a byte of a key, a plaintext, a ciphertext or a PIN.
var (
	// ErrCiphertext is Decrypt's one answer for whatever is not a ciphertext of this
	// key under this associated data.
	ErrCiphertext = errors.New("provider: not a ciphertext of this key and associated data")

	// ErrSignature is the one answer to whatever is not a signature, or a MAC, of this key
	// for that message.
	ErrSignature = errors.New("provider: not a signature of this key and message")

	// ErrNoKey means that the material is not one that this provider made for that id,
	// or that the key behind a reference is gone for sure: the provider sees the place that the
	// reference leads to, and the key is not there. A key that is in another place is ErrElsewhere.
	ErrNoKey = errors.New("provider: no such key")

	// ErrUnavailable means that the provider cannot tell now; the call may be repeated.
	ErrUnavailable = errors.New("provider: unavailable")

	// ErrElsewhere means that the key behind a reference is in another place than the one that the
	// provider is connected to: in another token. It matches ErrUnavailable, because nothing is
	// known of the key itself.
	ErrElsewhere = fmt.Errorf("%w: in another place", ErrUnavailable)

	// ErrUnsupported means that the provider does not offer this spec or operation.
	ErrUnsupported = errors.New("provider: unsupported")
)

// Provider makes, opens and destroys keys. All methods may be called by many
// goroutines at once. An id names one key version; it is 1 to 128 bytes of printable
// ASCII. No two keys of one id are ever kept, but where two processes made one at once, or
// one was killed, a key may have been made that nobody kept.
type Provider interface {
	// Generate makes a key for that use and returns its material: at most 64 KiB. It has no
	// other use, where the provider can see to that. A use that the spec has not is ErrUnsupported.
	Generate(ctx context.Context, id string, spec Spec, use Use) (material []byte, err error)

	// Open returns the key of that material, ready for use. Material that was made for
	// another id or spec, or is damaged, is ErrNoKey.
	Open(ctx context.Context, id string, spec Spec, material []byte) (Key, error)

	// Destroy ends the key of that material and returns nil only when it is surely
	// gone: also when it was gone already. It may be repeated. Where the material is the key there is nothing to do:
	// the service has forgotten the material already.
	Destroy(ctx context.Context, id string, material []byte) error
}

// Importer is an ability that a Provider may have: it takes keys that were made elsewhere.
type Importer interface {
	// Import makes the given key the key of id and returns its material, as Generate does.
	// It does not keep key. A key is given as its bytes for AES (32, 24, 16) and HMAC (32, 48, 64),
	// and as PKCS #8 in DER for RSA, EC and ED25519. What is none is ErrUnsupported.
	Import(ctx context.Context, id string, spec Spec, use Use, key []byte) (material []byte, err error)
}

// Key is one opened key. The service keeps it, calls it from many goroutines and drops
// it without a word: whatever is scarce behind it is the Provider's to reclaim.
//
// A Key must commit: a ciphertext that one Key opens is opened by no other, whatever
// the material of the two. It must choose nonces itself and hold for at least 2^31
// messages. It may not modify its inputs, nor keep them.
//
// What other keys than those that encrypt can do, they say with a further interface:
// Signer, AsymmetricDecrypter, MAC. One that encrypts may be a DataKeyGenerator.
type Key interface {
	// Encrypt appends the ciphertext of plaintext (at most 8 KiB) to dst and returns
	// the extended slice. It adds at most 1 KiB. The room behind dst must not overlap the
	// inputs; what is in dst may be one of them.
	Encrypt(ctx context.Context, dst, plaintext, associatedData []byte) ([]byte, error)

	// Decrypt appends the plaintext to dst and returns the extended slice, or nil and
	// ErrCiphertext.
	Decrypt(ctx context.Context, dst, ciphertext, associatedData []byte) ([]byte, error)
}
