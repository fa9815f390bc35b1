package providertest_test

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"github.com/keyhold/kms/provider"
)

var brokenEncryption = []broken{{
	name: "refuses messages of exactly 8 KiB", fails: "round trip",
	make: encrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		if len(in) >= 8192 {
			return nil, errors.New("too long")
		}
		return sound(ctx, dst, in, ad)
	}),
}, {
	name: "loses the last byte of 4097", fails: "round trip",
	make: decrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		out, err := sound(ctx, dst, in, ad)
		if err == nil && len(out)-len(dst) == 4097 {
			out = out[:len(out)-1]
		}
		return out, err
	}),
}, {
	name: "cannot do without associated data where there is much plaintext", fails: "round trip",
	make: encrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		if len(in) > 4000 && len(ad) == 0 {
			return nil, errors.New("no associated data")
		}
		return sound(ctx, dst, in, ad)
	}),
}, {
	name: "Encrypt returns the ciphertext alone", fails: "dst is appended to",
	make: encrypting(func(sound cryptFunc, ctx context.Context, _, in, ad []byte) ([]byte, error) {
		return sound(ctx, nil, in, ad)
	}),
}, {
	name: "Decrypt returns the plaintext alone", fails: "dst is appended to",
	make: decrypting(func(sound cryptFunc, ctx context.Context, _, in, ad []byte) ([]byte, error) {
		return sound(ctx, nil, in, ad)
	}),
}, {
	name: "Decrypt writes at the start of dst", fails: "dst is appended to",
	make: decrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		out, err := sound(ctx, nil, in, ad)
		return append(dst[:0], out...), err
	}),
}, {
	name: "a refused Decrypt clears dst", fails: "dst is appended to",
	make: decrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		out, err := sound(ctx, dst, in, ad)
		if err != nil {
			clear(dst)
		}
		return out, err
	}),
}, {
	name: "Encrypt pads the plaintext where it lies", fails: "inputs are unchanged",
	make: encrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		_ = append(in, 0x80, 0, 0, 0, 0, 0, 0, 0)
		return sound(ctx, dst, in, ad)
	}),
}, {
	name: "Encrypt joins to the associated data", fails: "inputs are unchanged",
	make: encrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		_ = append(ad, "more data"...)
		return sound(ctx, dst, in, ad)
	}),
}, {
	name: "Decrypt joins to the associated data", fails: "inputs are unchanged",
	make: decrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		_ = append(ad, "more data"...)
		return sound(ctx, dst, in, ad)
	}),
}, {
	name: "Open joins to the material", fails: "inputs are unchanged",
	make: opening(func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
		_ = append(m, id...)
		return sound(ctx, id, spec, m)
	}),
}, {
	name: "Destroy joins to the material", fails: "inputs are unchanged",
	make: func() *hooked {
		h := base()
		h.destroy = func(ctx context.Context, id string, m []byte) error {
			if _, err := h.Provider.Open(ctx, id, provider.AES256, m); err == nil {
				_ = append(m, id...)
			}
			return nil
		}
		return h
	},
}, {
	name: "opens the material at the first use", fails: "nothing is kept",
	make: opening(func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
		if _, err := sound(ctx, id, spec, m); err != nil {
			return nil, err
		}
		key := sync.OnceValues(func() (provider.Key, error) { return sound(ctx, id, spec, m) })
		return keyFuncs{
			encrypt: func(ctx context.Context, dst, in, ad []byte) ([]byte, error) {
				k, err := key()
				if err != nil {
					return nil, err
				}
				return k.Encrypt(ctx, dst, in, ad)
			},
			decrypt: func(ctx context.Context, dst, in, ad []byte) ([]byte, error) {
				k, err := key()
				if err != nil {
					return nil, err
				}
				return k.Decrypt(ctx, dst, in, ad)
			},
		}, nil
	}),
}, {
	name: "hands out the plaintext that it remembers", fails: "nothing is kept",
	make: func() *hooked {
		h, remembered := base(), sync.Map{}
		h.decrypt = func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
			out, err := sound(ctx, nil, in, ad)
			if err != nil {
				return nil, err
			}
			known, _ := remembered.LoadOrStore(string(in), out)
			if dst == nil {
				return known.([]byte), nil
			}
			return append(dst, known.([]byte)...), nil
		}
		return h
	},
}, {
	name: "repeats itself", fails: "no ciphertext twice",
	make: func() *hooked {
		h := base()
		var mu sync.Mutex
		var n int
		var kept, keptIn []byte
		h.encrypt = func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			// Late, and once: the ciphertext before last comes again.
			if n++; n == 9_999 && bytes.Equal(in, keptIn) {
				return append(dst, kept...), nil
			}
			out, err := sound(ctx, dst, in, ad)
			if n == 9_997 && err == nil {
				kept, keptIn = bytes.Clone(out[len(dst):]), bytes.Clone(in)
			}
			return out, err
		}
		return h
	},
}}
