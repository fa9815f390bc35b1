package providertest_test

import (
	"context"

	"github.com/keyhold/kms/provider"
)

// broken is a provider with one fault.
type broken struct {
	name  string
	fails string // the one case that it fails
	make  func() *hooked
}

// brokenProviders are all of them; TestEachCaseFailsAlone proves that they do for every
// case. Each make returns a fresh one.
var brokenProviders = concat(brokenEncryption, brokenDataKeys, brokenRefusals, brokenMaterials, brokenLives, brokenSigning)

func concat(parts ...[]broken) (all []broken) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// encrypting returns a provider with that Encrypt, decrypting with that Decrypt, and so on.
func encrypting(f func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error)) func() *hooked {
	return func() *hooked { h := base(); h.encrypt = f; return h }
}

func decrypting(f func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error)) func() *hooked {
	return func() *hooked { h := base(); h.decrypt = f; return h }
}

func opening(f func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error)) func() *hooked {
	return func() *hooked { h := base(); h.open = f; return h }
}

func generating(f func(sound generateFunc, ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error)) func() *hooked {
	return func() *hooked { h := base(); h.generate = f; return h }
}
