package providertest_test

import (
	"context"

	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

// hooked is a sound provider some of whose methods are replaced. A hook calls the sound
// method by the argument named sound; a nil hook is the sound method itself. The hooks of
// generate and open do not see the specs that have hooks of their own, in abilities.
type hooked struct {
	provider.Provider
	generate func(sound generateFunc, ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error)
	open     func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error)
	destroy  func(ctx context.Context, id string, m []byte) error
	encrypt  func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error)
	decrypt  func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error)
	dataKey  func(sound cryptFunc, ctx context.Context, dst, key, ad []byte) ([]byte, error)

	abilities abilities
}

type (
	generateFunc func(ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error)
	openFunc     func(ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error)
	cryptFunc    func(ctx context.Context, dst, in, ad []byte) ([]byte, error)
)

func (h *hooked) Generate(ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
	if h.generate == nil || hasAbilities(spec) {
		return h.Provider.Generate(ctx, id, spec, use)
	}
	return h.generate(h.Provider.Generate, ctx, id, spec, use)
}

func (h *hooked) Open(ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
	open := h.open
	if open == nil || hasAbilities(spec) {
		open = func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
			return sound(ctx, id, spec, m)
		}
	}
	k, err := open(h.Provider.Open, ctx, id, spec, m)
	if err != nil {
		return nil, err
	}
	return h.withAbilities(k), nil
}

func (h *hooked) Destroy(ctx context.Context, id string, m []byte) error {
	if h.destroy == nil {
		return h.Provider.Destroy(ctx, id, m)
	}
	return h.destroy(ctx, id, m)
}

type hookedKey struct {
	provider.Key
	h *hooked
}

func (k *hookedKey) Encrypt(ctx context.Context, dst, in, ad []byte) ([]byte, error) {
	if k.h.encrypt == nil {
		return k.Key.Encrypt(ctx, dst, in, ad)
	}
	return k.h.encrypt(k.Key.Encrypt, ctx, dst, in, ad)
}

func (k *hookedKey) Decrypt(ctx context.Context, dst, in, ad []byte) ([]byte, error) {
	if k.h.decrypt == nil {
		return k.Key.Decrypt(ctx, dst, in, ad)
	}
	return k.h.decrypt(k.Key.Decrypt, ctx, dst, in, ad)
}

// keyFuncs is a key made of two functions.
type keyFuncs struct{ encrypt, decrypt cryptFunc }

func (k keyFuncs) Encrypt(ctx context.Context, dst, in, ad []byte) ([]byte, error) {
	return k.encrypt(ctx, dst, in, ad)
}

func (k keyFuncs) Decrypt(ctx context.Context, dst, in, ad []byte) ([]byte, error) {
	return k.decrypt(ctx, dst, in, ad)
}

// base returns a sound provider to be broken.
func base() *hooked { return &hooked{Provider: quick{software.New()}} }
