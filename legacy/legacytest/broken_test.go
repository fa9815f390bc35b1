package legacytest_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/keyring"
)

// broken is a Source with one fault.
type broken struct {
	name  string
	fails []string // the cases that it fails; the first is the one that it is there for
	hooks hooks
}

// opening are the cases that cannot go on where a known ciphertext does not open.
var opening = []string{
	"the bare source opens", "inputs are unchanged", "nothing is kept", "many goroutines", "every bit counts", "the length counts",
	"the encryption context counts", "another version refuses", "the locator counts", "nothing prints material", "errors are silent",
}

func and(more []string, first ...string) []string { return append(first, more...) }

type keySeq = iter.Seq2[legacy.Key, error]

// changed is the sound keys, changed as a list.
func changed(f func([]legacy.Key) []legacy.Key) func(*keyring.Source, context.Context) keySeq {
	return func(sound *keyring.Source, ctx context.Context) keySeq {
		return func(yield func(legacy.Key, error) bool) {
			if ctx.Err() != nil {
				yield(legacy.Key{}, ctx.Err())
				return
			}
			for _, k := range f(list(sound)) {
				if !yield(k, nil) {
					return
				}
			}
		}
	}
}

func list(s *keyring.Source) (keys []legacy.Key) {
	for k, err := range s.Keys(context.Background()) {
		if err != nil {
			panic(err)
		}
		keys = append(keys, k)
	}
	return keys
}

// noCopy has the same list of versions for every caller.
func noCopy() func(*keyring.Source, context.Context) keySeq {
	var kept sync.Map // by Source
	return func(sound *keyring.Source, ctx context.Context) keySeq {
		keys, _ := kept.LoadOrStore(sound, list(sound))
		return changed(func([]legacy.Key) []legacy.Key { return keys.([]legacy.Key) })(sound, ctx)
	}
}

func decrypting(f func(sound legacy.Opener, c []byte, ec map[string]string) ([]byte, error)) hooks {
	return hooks{decrypt: func(sound legacy.Opener, _ string, c []byte, ec map[string]string) ([]byte, error) {
		return f(sound, c, ec)
	}}
}

func locating(f func(sound []string, c []byte) []string) hooks {
	return hooks{locate: func(s *keyring.Source, c []byte) []string { return f(s.Locate(c), c) }}
}

// printable is an Opener that holds its key as a field.
type printable struct {
	legacy.Opener
	key []byte
}

var brokenSources = []broken{{
	name: "a scheme in upper case", fails: []string{"the scheme is a name"},
	hooks: hooks{scheme: func() string { return "KMS" }},
}, {
	name: "a scheme that changes", fails: []string{"the scheme is a name"},
	hooks: func() hooks {
		var n atomic.Int32
		return hooks{scheme: func() string { return fmt.Sprintf("kms-%d", n.Add(1)) }}
	}(),
}, {
	name: "a description without end", fails: []string{"keys are as the contract says"},
	hooks: hooks{keys: changed(func(keys []legacy.Key) []legacy.Key {
		keys[1].Description = string(make([]byte, 10_000))
		return keys
	})},
}, {
	name: "descending IDs", fails: []string{"keys ascend by ID"},
	hooks: hooks{keys: changed(func(keys []legacy.Key) []legacy.Key { slices.Reverse(keys); return keys })},
}, {
	name: "one array for all callers", fails: []string{"keys can be listed again"},
	hooks: hooks{keys: noCopy()},
}, {
	name: "a list that goes on", fails: []string{"a cancelled context ends the list"},
	hooks: hooks{keys: func(sound *keyring.Source, _ context.Context) keySeq { return sound.Keys(context.Background()) }},
}, {
	name: "a list that just ends", fails: []string{"a cancelled context ends the list"},
	hooks: hooks{keys: func(sound *keyring.Source, ctx context.Context) keySeq {
		if ctx.Err() != nil {
			return func(func(legacy.Key, error) bool) {}
		}
		return sound.Keys(ctx)
	}},
}, {
	name: "a key out of nothing", fails: []string{"the bare source has no keys"},
	hooks: hooks{bareKeys: func() keySeq { return func(yield func(legacy.Key, error) bool) { yield(legacy.Key{}, nil) } }},
}, {
	name: "a version that is not found", fails: and(opening, "known ciphertexts are located", "known ciphertexts open"),
	hooks: locating(func(sound []string, _ []byte) []string {
		if slices.Contains(sound, versionIDs[2]) {
			return nil
		}
		return sound
	}),
}, {
	name: "takes all for its own", fails: []string{"foreign ciphertexts are not located"},
	hooks: locating(func(sound []string, _ []byte) []string {
		if sound == nil {
			return []string{"unknown"}
		}
		return sound
	}),
}, {
	name: "a locator of any bytes", fails: []string{"locators are sound"},
	hooks: locating(func(sound []string, c []byte) []string {
		if len(c) > 64 && c[8] == '/' {
			return []string{string(c[:36])}
		}
		return sound
	}),
}, {
	name: "a locator twice", fails: []string{"locators are sound"},
	hooks: locating(func(sound []string, c []byte) []string {
		if len(c) == 8192 {
			return []string{"a", "a"}
		}
		return sound
	}),
}, {
	name: "many locators", fails: []string{"locators are sound"},
	hooks: locating(func(sound []string, c []byte) []string {
		if len(c) == 8192 {
			return []string{"a", "b", "c", "d", "e"}
		}
		return sound
	}),
}, {
	name: "other locators when asked again", fails: []string{"Locate depends on the ciphertext alone"},
	hooks: func() hooks {
		var n atomic.Int32
		return locating(func(sound []string, c []byte) []string {
			if len(c) == 100 {
				return []string{fmt.Sprint(n.Add(1))}
			}
			return sound
		})
	}(),
}, {
	name: "writes to what it locates", fails: []string{"Locate depends on the ciphertext alone"},
	hooks: locating(func(sound []string, c []byte) []string {
		if sound == nil && len(c) == 100 {
			_ = append(c, 0) // into the spare capacity
		}
		return sound
	}),
}, {
	name: "loses the last byte", fails: []string{"known ciphertexts open", "the bare source opens", "nothing is kept", "many goroutines", "the encryption context counts"},
	hooks: decrypting(func(sound legacy.Opener, c []byte, ec map[string]string) ([]byte, error) {
		p, err := sound.Decrypt(c, ec)
		if err != nil {
			return nil, err
		}
		return p[:len(p)-1], nil
	}),
}, {
	name: "needs its keys", fails: []string{"the bare source opens"},
	hooks: hooks{bareOpen: func() (legacy.Opener, error) { return nil, legacy.ErrMaterial }},
}, {
	name: "ignores what is behind the key", fails: []string{"damaged material does not open"},
	hooks: hooks{open: func(sound *keyring.Source, locator string, m []byte) (legacy.Opener, error) {
		return sound.Open(locator, m[:min(len(m), 33)])
	}},
}, {
	name: "tells of bad material in its own words", fails: []string{"damaged material does not open", "the locator counts"},
	hooks: hooks{open: func(sound *keyring.Source, locator string, m []byte) (legacy.Opener, error) {
		o, err := sound.Open(locator, m)
		if err != nil {
			return nil, errors.New("bad material")
		}
		return o, nil
	}},
}, {
	name: "decrypts in place", fails: []string{"inputs are unchanged"},
	hooks: decrypting(func(sound legacy.Opener, c []byte, ec map[string]string) ([]byte, error) {
		p, err := sound.Decrypt(c, ec)
		if err != nil {
			return nil, err
		}
		if cap(c)-len(c) > 32 {
			c = c[:cap(c)]
			return c[len(c)-len(p):][:copy(c[len(c)-len(p):], p)], nil
		}
		return p, nil
	}),
}, {
	name: "gives the same slice again", fails: []string{"nothing is kept"},
	hooks: hooks{wrap: func(sound legacy.Opener, _ []byte) legacy.Opener {
		kept := new(atomic.Pointer[[]byte])
		return openerFunc(func(c []byte, ec map[string]string) ([]byte, error) {
			p, err := sound.Decrypt(c, ec)
			if err != nil || kept.CompareAndSwap(nil, &p) {
				return p, err
			}
			return *kept.Load(), nil
		})
	}},
}, {
	name: "wears out", fails: []string{"many goroutines"},
	hooks: hooks{wrap: func(sound legacy.Opener, _ []byte) legacy.Opener {
		var n atomic.Int32
		return openerFunc(func(c []byte, ec map[string]string) ([]byte, error) {
			p, err := sound.Decrypt(c, ec)
			if err == nil && n.Add(1) > 10 {
				return nil, legacy.ErrCiphertext
			}
			return p, err
		})
	}},
}, {
	name: "one bit does not count", fails: []string{"every bit counts"},
	hooks: decrypting(func(sound legacy.Opener, c []byte, ec map[string]string) ([]byte, error) {
		p, err := sound.Decrypt(c, ec)
		if err != nil && len(c) > 60 {
			c = bytes.Clone(c)
			c[47] ^= 1
			return sound.Decrypt(c, ec)
		}
		return p, err
	}),
}, {
	name: "trims a line end", fails: []string{"the length counts"},
	hooks: decrypting(func(sound legacy.Opener, c []byte, ec map[string]string) ([]byte, error) {
		p, err := sound.Decrypt(c, ec)
		if trimmed, ok := bytes.CutSuffix(c, []byte("\n")); ok && err != nil {
			return sound.Decrypt(trimmed, ec)
		}
		return p, err
	}),
}, {
	name: "returns what it refused", fails: []string{"every bit counts", "the length counts", "the encryption context counts", "another version refuses", "the locator counts", "refusals are alike", "errors are silent"},
	hooks: decrypting(func(sound legacy.Opener, c []byte, ec map[string]string) ([]byte, error) {
		p, err := sound.Decrypt(c, ec)
		if err != nil {
			return []byte{}, err
		}
		return p, nil
	}),
}, {
	name: "no context for an empty one", fails: []string{"the encryption context counts"},
	hooks: decrypting(func(sound legacy.Opener, c []byte, ec map[string]string) ([]byte, error) {
		if ec != nil && len(ec) == 0 {
			return nil, legacy.ErrCiphertext
		}
		return sound.Decrypt(c, ec)
	}),
}, {
	name: "ignores a pair of the context", fails: []string{"the encryption context counts", "refusals are alike", "errors are silent"},
	hooks: decrypting(func(sound legacy.Opener, c []byte, ec map[string]string) ([]byte, error) {
		only := map[string]string{}
		if v, ok := ec["tenant"]; ok {
			only["tenant"] = v
		}
		return sound.Decrypt(c, only)
	}),
}, {
	name: "one version for all", fails: []string{"another version refuses", "the locator counts"},
	hooks: hooks{decrypt: func(sound legacy.Opener, locator string, c []byte, ec map[string]string) ([]byte, error) {
		p, err := sound.Decrypt(c, ec)
		if err != nil && locator == versionIDs[1] && bytes.HasPrefix(c, []byte(versionIDs[2])) {
			o, err := new(keyring.Source).Open(versionIDs[2], append([]byte{1}, keyOf(versionIDs[2])...))
			if err != nil {
				return nil, err
			}
			return o.Decrypt(c, ec)
		}
		return p, err
	}},
}, {
	name: "any locator will do", fails: []string{"the locator counts"},
	hooks: hooks{open: func(sound *keyring.Source, locator string, m []byte) (legacy.Opener, error) {
		if !legacy.ValidLocator(locator) {
			locator = versionIDs[0]
		}
		return sound.Open(locator, m)
	}},
}, {
	name: "says why it refuses", fails: []string{"refusals are alike"},
	hooks: decrypting(func(sound legacy.Opener, c []byte, ec map[string]string) ([]byte, error) {
		if len(c) < 64 {
			return nil, fmt.Errorf("%w: too short", legacy.ErrCiphertext)
		}
		return sound.Decrypt(c, ec)
	}),
}, {
	name: "has its own error", fails: []string{"every bit counts", "the length counts", "the encryption context counts", "another version refuses", "the locator counts", "refusals are alike", "errors are silent"},
	hooks: decrypting(func(sound legacy.Opener, c []byte, ec map[string]string) ([]byte, error) {
		p, err := sound.Decrypt(c, ec)
		if err != nil {
			return nil, errors.New("refused")
		}
		return p, nil
	}),
}, {
	name: "holds its key where printers see it", fails: []string{"nothing prints material"},
	hooks: hooks{wrap: func(sound legacy.Opener, m []byte) legacy.Opener { return &printable{sound, bytes.Clone(m)} }},
}, {
	name: "quotes bad material", fails: []string{"errors are silent"},
	hooks: hooks{open: func(sound *keyring.Source, locator string, m []byte) (legacy.Opener, error) {
		o, err := sound.Open(locator, m)
		if err != nil {
			return nil, fmt.Errorf("%w: %s", legacy.ErrMaterial, hex.EncodeToString(m))
		}
		return o, nil
	}},
}, {
	name: "panics", fails: []string{"the length counts", "refusals are alike"},
	hooks: decrypting(func(sound legacy.Opener, c []byte, ec map[string]string) ([]byte, error) {
		_ = c[40]
		return sound.Decrypt(c, ec)
	}),
}}
