// Package software is the provider of software keys, on Tink, and the roots that a
// program without a cloud KMS needs. It is for programs that set up the key management
// service; they use keys through package kms.
//
// A key is a Tink keyset with one key, which Tink generates and serialises. That of AES_256
// is XAES-256-GCM: a ciphertext is byte for byte one of Tink's, of 32 zero bytes and the
// plaintext; the zeros commit the ciphertext to its key. Encryption and decryption run on the
// standard library, and so also with GODEBUG=fips140=only.
//
// ED25519, ML_DSA_65 and HMAC run on Tink. RSA and ECDSA are given digests, which Tink does
// not sign: they run on the standard library, with the key of the keyset.
//
// The material of a software key is the key itself, in the clear: the service seals it
// before it stores it. This package keeps nothing and logs nothing.
package software

import (
	"context"
	"fmt"

	"github.com/keyhold/kms/provider"
)

// Provider makes and opens software keys. It has no state; all its methods may be called
// by many goroutines at once. It is made by New.
type Provider struct{}

var (
	_ provider.Provider = (*Provider)(nil)
	_ provider.Importer = (*Provider)(nil)
)

// New returns a Provider. All Providers open each other's material.
func New() *Provider { return &Provider{} }

// Generate makes a key and returns its material, some 100 bytes and the id, and up to 5 KiB
// for an RSA or ML-DSA key. RSA_4096 takes seconds.
func (p *Provider) Generate(ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, params, err := kindFor(spec, use)
	if err != nil {
		return nil, err
	}
	keyset, err := newKeyset(params)
	if err != nil {
		return nil, err
	}
	defer clear(keyset)
	return material{id: id, keyset: keyset}.encode()
}

// Import makes a key that was made elsewhere the key of id and returns its material, as
// Generate does. RSA keys have two primes. ML_DSA_65 is not imported. A key that is not one of
// that spec, or whose bytes are all the same, is provider.ErrUnsupported.
func (p *Provider) Import(ctx context.Context, id string, spec provider.Spec, use provider.Use, key []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k, params, err := kindFor(spec, use)
	if err != nil {
		return nil, err
	}
	if k.typed == nil {
		return nil, fmt.Errorf("%w: keys of that spec are not imported", provider.ErrUnsupported)
	}
	// What Tink and the parser say of a bad key is dropped: it may quote from it.
	typed, err := k.typed(key, params)
	if err != nil || !sameKind(params)(typed.Parameters()) {
		return nil, fmt.Errorf("%w: not a key of that spec", provider.ErrUnsupported)
	}
	keyset, err := keysetOf(typed)
	if err != nil {
		return nil, err
	}
	defer clear(keyset)
	return material{id: id, keyset: keyset}.encode()
}

// Open returns the key of that material. Material that was not made for that id and spec, or
// that is not exactly as Generate made it, is provider.ErrNoKey.
func (p *Provider) Open(ctx context.Context, id string, spec provider.Spec, b []byte) (provider.Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k, params, err := kindOf(spec)
	if err != nil {
		return nil, err
	}
	m, err := parseMaterial(b)
	if err != nil {
		return nil, err
	}
	if m.id != id {
		return nil, fmt.Errorf("%w: the material is of another id", provider.ErrNoKey)
	}
	handle, typed, err := readKeyset(m.keyset, sameKind(params))
	if err != nil {
		return nil, err
	}
	return k.open(handle, typed)
}

// Destroy has nothing to do and returns nil: the material is the key, and the service has
// forgotten it.
func (p *Provider) Destroy(context.Context, string, []byte) error { return nil }
