package providertest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"

	"github.com/keyhold/kms/provider"
)

var brokenMaterials = []broken{{
	name: "is another key each time it is opened", fails: "material reopens",
	make: func() *hooked {
		h, opened := base(), sync.Map{}
		h.open = func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
			k, err := sound(ctx, id, spec, m)
			if err != nil {
				return nil, err
			}
			n, _ := opened.LoadOrStore(id, new(int))
			times := n.(*int)
			if *times++; *times < 3 {
				return k, nil
			}
			fresh, err := h.Provider.Generate(ctx, id, spec, provider.UseEncrypt)
			if err != nil {
				return nil, err
			}
			return sound(ctx, id, spec, fresh)
		}
		return h
	},
}, {
	name: "does not look at the id", fails: "material is of one id",
	make: func() *hooked {
		h, made := base(), sync.Map{}
		h.generate = func(sound generateFunc, ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
			m, err := sound(ctx, id, spec, use)
			made.Store(string(m), id)
			return m, err
		}
		h.open = func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
			if real, ok := made.Load(string(m)); ok {
				id = real.(string)
			}
			return sound(ctx, id, spec, m)
		}
		return h
	},
}, {
	name: "takes ids without regard to case", fails: "material is of one id",
	make: func() *hooked {
		h := base()
		h.generate = func(sound generateFunc, ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
			return sound(ctx, strings.ToLower(id), spec, use)
		}
		h.open = func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
			return sound(ctx, strings.ToLower(id), spec, m)
		}
		return h
	},
}, {
	name: "does not look at what follows material", fails: "damaged material is refused",
	make: opening(func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
		k, err := sound(ctx, id, spec, m)
		if err != nil && len(m) > 0 {
			return sound(ctx, id, spec, m[:len(m)-1])
		}
		return k, err
	}),
}, {
	name: "does not look at one bit of material", fails: "damaged material is refused",
	make: opening(func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
		k, err := sound(ctx, id, spec, m)
		if err != nil && len(m) > 100 {
			m = bytes.Clone(m)
			m[90] ^= 0x04
			return sound(ctx, id, spec, m)
		}
		return k, err
	}),
}, {
	name: "slices empty material", fails: "damaged material is refused",
	make: opening(func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
		if m == nil {
			return sound(ctx, id, spec, m[:1])
		}
		return sound(ctx, id, spec, m)
	}),
}, {
	name: "has no word for damage", fails: "damaged material is refused",
	make: opening(func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
		if len(m) > 64<<10 {
			return nil, errors.New("too long")
		}
		return sound(ctx, id, spec, m)
	}),
}, {
	name: "makes 64 KiB and one byte", fails: "material is small",
	make: func() *hooked {
		const size = 64<<10 + 1
		h := base()
		h.generate = func(sound generateFunc, ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
			m, err := sound(ctx, id, spec, use)
			if err != nil {
				return nil, err
			}
			padded := append(m, make([]byte, size-len(m))...)
			binary.BigEndian.PutUint16(padded[size-2:], uint16(len(m)))
			return padded, nil
		}
		h.open = func(sound openFunc, ctx context.Context, id string, spec provider.Spec, m []byte) (provider.Key, error) {
			if len(m) != size {
				return nil, provider.ErrNoKey
			}
			padding := m[:size-2]
			n := min(int(binary.BigEndian.Uint16(m[size-2:])), len(padding))
			if len(bytes.Trim(padding[n:], "\x00")) > 0 {
				return nil, provider.ErrNoKey
			}
			return sound(ctx, id, spec, m[:n])
		}
		return h
	},
}, {
	name: "takes no more than 64 bytes of id", fails: "ids of every kind",
	make: generating(func(sound generateFunc, ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
		if len(id) > 64 {
			return nil, errors.New("id too long")
		}
		return sound(ctx, id, spec, use)
	}),
}, {
	name: "takes ids for paths", fails: "ids of every kind",
	make: generating(func(sound generateFunc, ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
		if bytes.ContainsRune([]byte(id), '/') {
			return nil, errors.New("no such folder")
		}
		return sound(ctx, id, spec, use)
	}),
}, {
	name: "makes keys of any spec", fails: "an unknown spec is unsupported",
	make: generating(func(sound generateFunc, ctx context.Context, id string, _ provider.Spec, use provider.Use) ([]byte, error) {
		return sound(ctx, id, provider.AES256, use)
	}),
}, {
	name: "makes keys for any use", fails: "a use is one of the spec's",
	make: generating(func(sound generateFunc, ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
		return sound(ctx, id, spec, append(spec.Uses(), use)[0])
	}),
}, {
	name: "opens keys of any spec", fails: "an unknown spec is unsupported",
	make: opening(func(sound openFunc, ctx context.Context, id string, _ provider.Spec, m []byte) (provider.Key, error) {
		return sound(ctx, id, provider.AES256, m)
	}),
}}
