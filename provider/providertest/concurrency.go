package providertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/provider"
)

func concurrencyCases() []promise {
	return []promise{{
		Name: "64 goroutines",
		Why:  "The service calls a provider and a key from as many goroutines as its callers have.",
		Run:  manyGoroutines,
	}, {
		Name: "a cancelled context",
		Why:  "Under a cancelled context a call fails, or is right. It does not say that a key is gone or a ciphertext is bad.",
		Run:  cancelledContext,
	}}
}

func manyGoroutines(f *fixture) {
	const goroutines, rounds = 64, 20
	shared := f.newKey()
	ids := make([]string, goroutines)
	for i := range ids {
		ids[i] = f.newID()
	}
	one := func(g int) error {
		material, err := f.p.Generate(f.Context(), ids[g], provider.AES256, provider.UseEncrypt)
		if err != nil {
			return fmt.Errorf("in Generate: %w", err)
		}
		own, err := f.p.Open(f.Context(), ids[g], provider.AES256, material)
		if err != nil {
			return fmt.Errorf("in Open: %w", err)
		}
		for r := range rounds {
			for _, k := range []provider.Key{shared, own} {
				plaintext, ad := suite.Random(g+r), suite.Random(g)
				ciphertext, err := k.Encrypt(f.Context(), nil, plaintext, ad)
				if err != nil {
					return fmt.Errorf("in Encrypt: %w", err)
				}
				got, err := k.Decrypt(f.Context(), nil, ciphertext, ad)
				if err != nil {
					return fmt.Errorf("in Decrypt: %w", err)
				}
				if !bytes.Equal(got, plaintext) {
					return errors.New("in Decrypt: something else than the plaintext")
				}
			}
		}
		if err := f.p.Destroy(f.Context(), ids[g], material); err != nil {
			return fmt.Errorf("in Destroy: %w", err)
		}
		return nil
	}

	start := make(chan struct{})
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			<-start
			if err := one(g); err != nil {
				f.Errorf("goroutine %d of %d at once: %v", g, goroutines, err)
			}
		})
	}
	close(start)
	wg.Wait()
}

func cancelledContext(f *fixture) {
	id := f.newID()
	material := f.generate(id)
	k := f.open(id, material)
	plaintext, ad := suite.Random(32), suite.Random(16)
	ciphertext := f.encrypt(k, plaintext, ad)

	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	honest := func(err error, what string) {
		for _, lie := range []error{provider.ErrNoKey, provider.ErrCiphertext, provider.ErrUnsupported} {
			if errors.Is(err, lie) {
				f.Errorf("%s under a cancelled context: %v, which is not so", what, err)
			}
		}
	}

	made, err := k.Encrypt(ctx, nil, plaintext, ad)
	if honest(err, "Encrypt"); err == nil {
		f.opens(k, made, ad, plaintext, "a ciphertext made under a cancelled context")
	}
	got, err := k.Decrypt(ctx, nil, ciphertext, ad)
	if honest(err, "Decrypt"); err == nil && !bytes.Equal(got, plaintext) {
		f.Errorf("Decrypt under a cancelled context returned something else than the plaintext")
	}
	if got, err := k.Decrypt(ctx, nil, suite.Flip(ciphertext, 0), ad); err == nil || got != nil {
		f.Errorf("Decrypt under a cancelled context accepted a damaged ciphertext")
	}
	opened, err := f.p.Open(ctx, id, provider.AES256, material)
	if honest(err, "Open"); err == nil {
		f.opens(opened, ciphertext, ad, plaintext, "a key opened under a cancelled context")
	}
	newID := f.newID()
	newMaterial, err := f.p.Generate(ctx, newID, provider.AES256, provider.UseEncrypt)
	if honest(err, "Generate"); err == nil {
		f.encrypt(f.open(newID, newMaterial), plaintext, ad)
		_ = f.p.Destroy(f.Context(), newID, newMaterial)
	}
	f.opens(k, ciphertext, ad, plaintext, "afterwards")
}
