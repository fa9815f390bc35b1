package providertest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/provider"
)

// fixture is what a case works with: the provider, and short forms that end the case
// where something fails that the case is not about.
type fixture struct {
	suite.TB
	p provider.Provider
}

// newID returns an id that was never used.
func (f *fixture) newID() string {
	return "providertest-" + hex.EncodeToString(suite.Random(16))
}

// generate makes a key that is destroyed when the case ends.
func (f *fixture) generate(id string) (material []byte) {
	f.Helper()
	material, err := f.p.Generate(f.Context(), id, provider.AES256, provider.UseEncrypt)
	if err != nil {
		f.Fatalf("Generate: %v", err)
	}
	kept := bytes.Clone(material)
	f.Cleanup(func() {
		// Whether Destroy works is the matter of its own cases.
		_ = f.p.Destroy(context.WithoutCancel(f.Context()), id, kept)
	})
	return material
}

func (f *fixture) open(id string, material []byte) provider.Key {
	f.Helper()
	k, err := f.p.Open(f.Context(), id, provider.AES256, material)
	if err != nil {
		f.Fatalf("Open: %v", err)
	}
	if k == nil {
		f.Fatalf("Open returned neither a key nor an error")
	}
	return k
}

// offered is a new key of a spec and use, where the provider offers that, which ends with the case.
func (f *fixture) offered(spec provider.Spec, use provider.Use) (id string, material []byte, ok bool) {
	f.Helper()
	id = f.newID()
	material, err := f.p.Generate(f.Context(), id, spec, use)
	if errors.Is(err, provider.ErrUnsupported) {
		f.Logf("not run for %s: the provider does not offer it", spec)
		return id, nil, false
	}
	if err != nil {
		f.Fatalf("Generate of %s: %v", spec, err)
	}
	kept := bytes.Clone(material)
	f.Cleanup(func() { _ = f.p.Destroy(context.WithoutCancel(f.Context()), id, kept) })
	return id, material, true
}

func (f *fixture) openOf(id string, spec provider.Spec, material []byte) provider.Key {
	f.Helper()
	k, err := f.p.Open(f.Context(), id, spec, material)
	if err != nil || k == nil {
		f.Fatalf("Open of %s: %v", spec, err)
	}
	return k
}

func (f *fixture) newKey() provider.Key {
	f.Helper()
	id := f.newID()
	return f.open(id, f.generate(id))
}

func (f *fixture) encrypt(k provider.Key, plaintext, ad []byte) []byte {
	f.Helper()
	ciphertext, err := k.Encrypt(f.Context(), nil, plaintext, ad)
	if err != nil {
		f.Fatalf("Encrypt of %d bytes: %v", len(plaintext), err)
	}
	return ciphertext
}

// opens checks that the ciphertext opens to that plaintext.
func (f *fixture) opens(k provider.Key, ciphertext, ad, plaintext []byte, what string) {
	f.Helper()
	got, err := k.Decrypt(f.Context(), nil, ciphertext, ad)
	switch {
	case err != nil:
		f.Fatalf("%s: Decrypt: %v", what, err)
	case !bytes.Equal(got, plaintext):
		f.Fatalf("%s: Decrypt returned %d bytes that are not the plaintext of %d bytes", what, len(got), len(plaintext))
	}
}

// refused checks that Decrypt answers nil and ErrCiphertext.
func (f *fixture) refused(k provider.Key, ciphertext, ad []byte, what string) error {
	f.Helper()
	// Clipped: what is refused is often a part of what is still needed.
	got, err := k.Decrypt(f.Context(), nil, slices.Clip(ciphertext), slices.Clip(ad))
	switch {
	case err == nil:
		f.Fatalf("%s: Decrypt accepted it", what)
	case !errors.Is(err, provider.ErrCiphertext):
		f.Fatalf("%s: Decrypt: %v; want ErrCiphertext", what, err)
	case got != nil:
		f.Fatalf("%s: Decrypt returned %d bytes beside ErrCiphertext; want nil", what, len(got))
	}
	return err
}

// notOpened checks that Open answers nil and one of those errors.
func (f *fixture) notOpened(id string, spec provider.Spec, material []byte, what string, want ...error) error {
	f.Helper()
	k, err := f.p.Open(f.Context(), id, spec, slices.Clip(material))
	if err == nil {
		f.Fatalf("%s: Open accepted it", what)
	}
	if k != nil {
		f.Fatalf("%s: Open returned a key beside the error %v", what, err)
	}
	for _, w := range want {
		if errors.Is(err, w) {
			return err
		}
	}
	f.Fatalf("%s: Open: %v; want %v", what, err, want)
	return nil
}
