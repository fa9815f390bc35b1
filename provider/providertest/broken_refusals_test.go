package providertest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/keyhold/kms/provider"
)

var brokenRefusals = []broken{{
	name: "does not look at one bit", fails: "every bit counts",
	make: decrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		out, err := sound(ctx, dst, in, ad)
		if err != nil && len(in) > 60 {
			in = bytes.Clone(in)
			in[50] ^= 0x10
			return sound(ctx, dst, in, ad)
		}
		return out, err
	}),
}, {
	name: "returns bytes beside the refusal of a bit", fails: "every bit counts",
	make: decrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		out, err := sound(ctx, dst, in, ad)
		if err != nil && len(in) > 60 {
			in = bytes.Clone(in)
			in[50] ^= 0x10
			if _, again := sound(ctx, nil, in, ad); again == nil {
				return append(dst, in[:32]...), err
			}
		}
		return out, err
	}),
}, {
	name: "does not look at what follows", fails: "the length counts",
	make: decrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		out, err := sound(ctx, dst, in, ad)
		if err != nil && len(in) > 0 && in[len(in)-1] == 0xff {
			return sound(ctx, dst, in[:len(in)-1], ad)
		}
		return out, err
	}),
}, {
	name: "slices without a look at the length", fails: "the length counts",
	make: decrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		if len(in) > 1 && in[15] == 0 && in[14] == 0 && in[13] == 0 {
			return nil, provider.ErrCiphertext
		}
		return sound(ctx, dst, in, ad)
	}),
}, {
	name: "binds 15 bytes of associated data", fails: "associated data counts",
	make: func() *hooked {
		h := base()
		h.encrypt = func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
			return sound(ctx, dst, in, ad[:min(len(ad), 15)])
		}
		h.decrypt = h.encrypt
		return h
	},
}, {
	name: "joins associated data and ciphertext", fails: "associated data have an end",
	make: decrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		out, err := sound(ctx, dst, in, ad)
		if err != nil && len(in) > 32 {
			for n := 1; n <= min(16, len(in)); n++ {
				if out, err := sound(ctx, dst, in[n:], append(bytes.Clone(ad), in[:n]...)); err == nil {
					return out, nil
				}
			}
		}
		return out, err
	}),
}, {
	name: "tells nil from empty", fails: "nil is empty",
	make: func() *hooked {
		h := base()
		h.encrypt = func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
			if ad == nil {
				ad = []byte("none")
			}
			return sound(ctx, dst, in, ad)
		}
		h.decrypt = h.encrypt
		return h
	},
}, {
	name: "cannot encrypt nil", fails: "nil is empty",
	make: encrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		if in == nil {
			return nil, errors.New("no plaintext")
		}
		return sound(ctx, dst, in, ad)
	}),
}, {
	name: "has one key for all", fails: "another key refuses",
	make: func() *hooked {
		h := base()
		var mu sync.Mutex
		var one provider.Key
		h.open = func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
			k, err := sound(ctx, id, spec, m)
			if err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			if one == nil {
				one = k
			}
			return one, nil
		}
		return h
	},
}, {
	name: "says what is too short", fails: "refusals are alike",
	make: decrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		if len(in) < 16 {
			return nil, fmt.Errorf("too short: %w", provider.ErrCiphertext)
		}
		return sound(ctx, dst, in, ad)
	}),
}, {
	name: "quotes the material", fails: "errors are silent",
	make: opening(func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
		k, err := sound(ctx, id, spec, m)
		if err != nil {
			err = fmt.Errorf("%x: %w", m, err)
		}
		return k, err
	}),
}, {
	name: "quotes some of the material as numbers", fails: "errors are silent",
	make: opening(func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
		k, err := sound(ctx, id, spec, m)
		if err != nil && len(m) > 20 {
			err = fmt.Errorf("%v: %w", m[len(m)-20:], err)
		}
		return k, err
	}),
}}
