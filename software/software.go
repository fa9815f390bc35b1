// Package software is the provider of software keys, on Tink, and the roots that a
// program without a cloud KMS needs. It is for programs that set up the key management
// service; they use keys through package kms.
//
// A key is a Tink keyset with one XAES-256-GCM key. Tink generates and serialises it. A
// ciphertext is byte for byte one of Tink's, of 32 zero bytes and the plaintext; the
// zeros commit the ciphertext to its key. Encryption and decryption run on the standard
// library, and so also with GODEBUG=fips140=only.
//
// The material of a software key is the key itself, in the clear: the service seals it
// before it stores it. This package keeps nothing and logs nothing.
package software

import (
	"context"
	"fmt"

	"github.com/keyhold/kms/internal/xaes"
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

// Generate makes a key of spec provider.AES256 and returns its material, some 100 bytes
// and the id. Any other spec is provider.ErrUnsupported.
func (p *Provider) Generate(ctx context.Context, id string, spec provider.Spec) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := supported(spec); err != nil {
		return nil, err
	}
	keyset, err := newKeyset(nil)
	if err != nil {
		return nil, err
	}
	return material{id: id, keyset: keyset}.encode()
}

// Import makes 32 bytes the key of id and returns its material, as Generate does.
func (p *Provider) Import(ctx context.Context, id string, spec provider.Spec, key []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := supported(spec); err != nil {
		return nil, err
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("%w: an imported key has 32 bytes", provider.ErrUnsupported)
	}
	keyset, err := newKeyset(key)
	if err != nil {
		return nil, err
	}
	return material{id: id, keyset: keyset}.encode()
}

// Open returns the key of that material. Material that was not made for that id, or that
// is not exactly as Generate made it, is provider.ErrNoKey.
func (p *Provider) Open(ctx context.Context, id string, spec provider.Spec, b []byte) (provider.Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := supported(spec); err != nil {
		return nil, err
	}
	m, err := parseMaterial(b)
	if err != nil {
		return nil, err
	}
	if m.id != id {
		return nil, fmt.Errorf("%w: the material is of another id", provider.ErrNoKey)
	}
	raw, err := keyOfKeyset(m.keyset)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	k, err := xaes.New(raw)
	if err != nil {
		return nil, fmt.Errorf("software: opening a key: %w", err)
	}
	return &key{xaes: k}, nil
}

// Destroy has nothing to do and returns nil: the material is the key, and the service has
// forgotten it.
func (p *Provider) Destroy(context.Context, string, []byte) error { return nil }

func supported(spec provider.Spec) error {
	if spec != provider.AES256 {
		return fmt.Errorf("%w: software keys are of spec %s only", provider.ErrUnsupported, provider.AES256)
	}
	return nil
}
