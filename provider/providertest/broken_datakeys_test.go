package providertest_test

import (
	"bytes"
	"context"
)

// generatingKeys returns a provider with that GenerateDataKey.
func generatingKeys(f func(sound cryptFunc, ctx context.Context, dst, key, ad []byte) ([]byte, error)) func() *hooked {
	return func() *hooked { h := base(); h.dataKey = f; return h }
}

var brokenDataKeys = []broken{{
	name: "fills another buffer", fails: "data keys",
	make: generatingKeys(func(sound cryptFunc, ctx context.Context, dst, key, ad []byte) ([]byte, error) {
		return sound(ctx, dst, bytes.Clone(key), ad)
	}),
}, {
	name: "makes no data key, and says nothing", fails: "data keys",
	make: generatingKeys(func(cryptFunc, context.Context, []byte, []byte, []byte) ([]byte, error) {
		return nil, nil
	}),
}, {
	name: "returns the data key's ciphertext alone", fails: "data keys",
	make: generatingKeys(func(sound cryptFunc, ctx context.Context, _, key, ad []byte) ([]byte, error) {
		return sound(ctx, nil, key, ad)
	}),
}, {
	name: "wipes dst before it reads the associated data", fails: "associated data in dst",
	make: encrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		if len(dst) > 0 && len(ad) > 0 && &dst[0] == &ad[0] {
			ad = make([]byte, len(ad))
		}
		return sound(ctx, dst, in, ad)
	}),
}}
