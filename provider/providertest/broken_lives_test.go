package providertest_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/keyhold/kms/provider"
)

var brokenLives = []broken{{
	name: "cannot destroy twice", fails: "destroy repeats",
	make: func() *hooked {
		h, gone := base(), sync.Map{}
		h.destroy = func(_ context.Context, id string, _ []byte) error {
			if _, already := gone.LoadOrStore(id, true); already {
				return provider.ErrNoKey
			}
			return nil
		}
		return h
	},
}, {
	name: "panics when the key has gone", fails: "after destroy nothing is wrong",
	make: afterwards(func([]byte) ([]byte, error) { panic("no object of that handle") }),
}, {
	name: "decrypts to nothing when the key has gone", fails: "after destroy nothing is wrong",
	make: afterwards(func(dst []byte) ([]byte, error) { return dst, nil }),
}, {
	name: "destroys by the material alone", fails: "destroy is of one key",
	make: forgetting(func(_ string, m []byte) string { return string(m) }),
}, {
	name: "destroys by the id alone", fails: "destroy is of one key",
	make: forgetting(func(id string, _ []byte) string { return id }),
}, {
	name: "is for one goroutine", fails: "64 goroutines",
	make: func() *hooked {
		h := base()
		var inside atomic.Int32
		h.encrypt = func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
			inside.Add(1)
			defer inside.Add(-1)
			for range 20 {
				if inside.Load() > 1 {
					return nil, errors.New("busy")
				}
				runtime.Gosched()
			}
			return sound(ctx, dst, in, ad)
		}
		return h
	},
}, {
	name: "Encrypt makes nothing when cancelled", fails: "a cancelled context",
	make: encrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		if ctx.Err() != nil {
			return dst, nil
		}
		return sound(ctx, dst, in, ad)
	}),
}, {
	name: "Decrypt makes nothing when cancelled", fails: "a cancelled context",
	make: decrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		if ctx.Err() != nil {
			return dst, nil
		}
		return sound(ctx, dst, in, ad)
	}),
}, {
	name: "Decrypt blames the ciphertext when cancelled", fails: "a cancelled context",
	make: decrypting(func(sound cryptFunc, ctx context.Context, dst, in, ad []byte) ([]byte, error) {
		if ctx.Err() != nil {
			return nil, provider.ErrCiphertext
		}
		return sound(ctx, dst, in, ad)
	}),
}, {
	name: "Open finds no key when cancelled", fails: "a cancelled context",
	make: opening(func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
		if ctx.Err() != nil {
			return nil, provider.ErrNoKey
		}
		return sound(ctx, id, spec, m)
	}),
}}

// afterwards returns a provider whose keys decrypt so after they were destroyed.
func afterwards(decrypt func(dst []byte) ([]byte, error)) func() *hooked {
	return func() *hooked {
		h, gone := base(), sync.Map{}
		h.destroy = func(_ context.Context, id string, m []byte) error {
			gone.Store(id+string(m), true)
			return nil
		}
		h.open = func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
			k, err := sound(ctx, id, spec, m)
			if err != nil {
				return nil, err
			}
			which := id + string(m)
			return keyFuncs{encrypt: k.Encrypt, decrypt: func(ctx context.Context, dst, in, ad []byte) ([]byte, error) {
				if _, ok := gone.Load(which); ok {
					return decrypt(dst)
				}
				return k.Decrypt(ctx, dst, in, ad)
			}}, nil
		}
		return h
	}
}

// forgetting returns a provider that destroys what it knows by that name.
func forgetting(name func(id string, m []byte) string) func() *hooked {
	return func() *hooked {
		h, gone := base(), sync.Map{}
		h.destroy = func(_ context.Context, id string, m []byte) error {
			gone.Store(name(id, m), true)
			return nil
		}
		h.open = func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
			if _, ok := gone.Load(name(id, m)); ok {
				return nil, provider.ErrNoKey
			}
			return sound(ctx, id, spec, m)
		}
		return h
	}
}
