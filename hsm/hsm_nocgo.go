//go:build !cgo

package hsm

import (
	"context"

	"github.com/keyhold/kms/provider"
)

// Token stands for a token in a program that is built without cgo. There is none: every call is
// provider.ErrUnsupported.
type Token struct{}

var (
	_ provider.Provider = (*Token)(nil)
	_ provider.Importer = (*Token)(nil)
)

func noCgo() error { return unsupported("built without cgo, which PKCS#11 needs") }

// Open checks the Config and returns provider.ErrUnsupported.
func Open(_ context.Context, cfg Config) (*Token, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return nil, noCgo()
}

// Close does nothing.
func (*Token) Close() error { return nil }

// Generate returns provider.ErrUnsupported.
func (*Token) Generate(context.Context, string, provider.Spec, provider.Use) ([]byte, error) {
	return nil, noCgo()
}

// Import returns provider.ErrUnsupported.
func (*Token) Import(context.Context, string, provider.Spec, provider.Use, []byte) ([]byte, error) {
	return nil, noCgo()
}

// Open returns provider.ErrUnsupported.
func (*Token) Open(context.Context, string, provider.Spec, []byte) (provider.Key, error) {
	return nil, noCgo()
}

// Destroy returns provider.ErrUnsupported.
func (*Token) Destroy(context.Context, string, []byte) error { return noCgo() }

// Root returns provider.ErrUnsupported.
func (*Token) Root(context.Context, string) (*Root, error) { return nil, noCgo() }

// CreateRoot returns provider.ErrUnsupported.
func (*Token) CreateRoot(context.Context, string) (*Root, error) { return nil, noCgo() }

// Orphans returns provider.ErrUnsupported.
func (*Token) Orphans(context.Context, func(id string) bool) ([]Object, error) { return nil, noCgo() }

// Health returns provider.ErrUnsupported.
func (*Token) Health(context.Context) (Health, error) { return Health{}, noCgo() }

// Root stands for a root in a token. There is none.
type Root struct{}

// Encrypt returns provider.ErrUnsupported.
func (*Root) Encrypt([]byte, []byte) ([]byte, error) { return nil, noCgo() }

// Decrypt returns provider.ErrUnsupported.
func (*Root) Decrypt([]byte, []byte) ([]byte, error) { return nil, noCgo() }
