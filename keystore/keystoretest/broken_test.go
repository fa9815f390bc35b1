package keystoretest_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/keyhold/kms/keystore"
)

var (
	errBusy    = errors.New("the connection is busy")
	errRefused = errors.New("refused by the engine")
)

var brokenStores = slices.Concat(brokenPuts, brokenBounds, brokenLists, brokenListItems, brokenRaces, brokenContexts, brokenReopens, brokenFeeds, brokenFollows)

var brokenPuts = []broken{{
	how:  "the fourth value of a name is read from a stale replica once",
	fail: "a Put is seen by the next Get",
	also: []string{"List survives writes", "writers of many names all succeed", "the head only grows, and only with what was replaced", "List yields a version with its own value", "a gap comes with a good head"},
	flaw: flaw{get: func(m *model, ctx context.Context, name string) (keystore.Item, error) {
		item, err := m.get(ctx, name)
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.counts["put "+name] == 4 && m.counts["read "+name] == 0 {
			m.counts["read "+name]++
			item.Version = "0"
		}
		return item, err
	}, written: func(m *model, item keystore.Item, _ bool) keystore.Item {
		m.counts["put "+item.Name]++
		return item
	}},
}, {
	how:  "an empty store has every item",
	fail: "Get of what is absent is ErrNotFound",
	flaw: flaw{get: func(m *model, ctx context.Context, name string) (keystore.Item, error) {
		item, err := m.get(ctx, name)
		if errors.Is(err, keystore.ErrNotFound) && len(m.names("", "")) == 0 {
			return keystore.Item{Name: name}, nil
		}
		return item, err
	}},
}, {
	how:  "an empty value is taken for absent",
	fail: "create is exclusive",
	flaw: flaw{matches: func(_ *model, current keystore.Item, _ bool, old keystore.Version) bool {
		return current.Version == old || old == "" && len(current.Value) == 0
	}},
}, {
	how:  "versions are compared as far as they go",
	fail: "a stale Put is refused",
	flaw: flaw{matches: func(_ *model, current keystore.Item, there bool, old keystore.Version) bool {
		return current.Version == old || there && strings.HasPrefix(string(old), string(current.Version))
	}},
}, {
	how:  "values are compared instead of versions",
	fail: "a stale Put is refused though the value is the same again",
	also: []string{"a Put of the same value makes a version"},
	flaw: flaw{written: func(m *model, item keystore.Item, _ bool) keystore.Item {
		m.items["history "+string(item.Version)] = item
		return item
	}, matches: func(m *model, current keystore.Item, there bool, old keystore.Version) bool {
		past, known := m.items["history "+string(old)]
		return current.Version == old || there && known && past.Name == current.Name && bytes.Equal(past.Value, current.Value)
	}, under: hideHistory},
}, {
	how:  "an unchanged value is not written",
	fail: "a Put of the same value makes a version",
	flaw: flaw{written: func(m *model, item keystore.Item, replaced bool) keystore.Item {
		if current := m.items[item.Name]; replaced && bytes.Equal(current.Value, item.Value) {
			return current
		}
		return item
	}},
}, {
	how:  "an update creates what is not there",
	fail: "a version of an absent name is ErrConflict",
	flaw: flaw{matches: func(_ *model, current keystore.Item, there bool, old keystore.Version) bool {
		return current.Version == old || !there
	}},
}, {
	how:  "the fifth refusal counts as a change",
	fail: "a refused Put changes nothing",
	flaw: flaw{refused: func(m *model, name string) {
		if m.counts[name]++; m.counts[name] == 5 {
			m.write(name, m.items[name].Value, false)
		}
	}},
}, {
	how:  "from the fourth refusal on it comes with the version that there is",
	fail: "a refused Put changes nothing",
	flaw: flaw{put: func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		version, err := m.put(ctx, name, old, value)
		if errors.Is(err, keystore.ErrConflict) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.counts["refused "+name]++; m.counts["refused "+name] >= 4 {
				version = m.items[name].Version
			}
		}
		return version, err
	}},
}, {
	how:  "versions are a byte that runs over",
	fail: "versions never repeat",
	flaw: flaw{written: func(m *model, item keystore.Item, _ bool) keystore.Item {
		m.counts[item.Name]++
		item.Version = keystore.Version("v" + strconv.Itoa(m.counts[item.Name]%80))
		return item
	}},
}, {
	how:  "a dot at the end of a name is dropped, as some file systems do",
	fail: "names do not disturb each other",
	flaw: renamed(func(name string) string {
		if len(name) > 1 {
			return strings.TrimSuffix(name, ".")
		}
		return name
	}),
}, {
	how:  "the slice that was put is kept",
	fail: "what is put is not kept",
	flaw: flaw{put: func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		version, err := m.put(ctx, name, old, value)
		m.mu.Lock()
		defer m.mu.Unlock()
		if item := m.items[name]; err == nil && item.Version == version {
			item.Value = value
			m.items[name] = item
		}
		return version, err
	}},
}, {
	how:  "Get hands out the slice that is stored",
	fail: "what Get returns is the caller's",
	flaw: flaw{get: func(m *model, ctx context.Context, name string) (keystore.Item, error) {
		item, err := m.get(ctx, name)
		m.mu.Lock()
		defer m.mu.Unlock()
		if stored := m.items[name]; err == nil && stored.Version == item.Version {
			return stored, nil
		}
		return item, err
	}},
}}

var brokenBounds = []broken{{
	how:  "values are text",
	fail: "values come back byte for byte",
	flaw: flaw{written: func(_ *model, item keystore.Item, _ bool) keystore.Item {
		item.Value = bytes.ToValidUTF8(item.Value, []byte("?"))
		return item
	}},
}, {
	how:  "a nil value is NULL in a column that has none",
	fail: "values of no bytes",
	flaw: flaw{put: func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		if err := m.usable(ctx); err == nil && value == nil {
			return "", errRefused
		}
		return m.put(ctx, name, old, value)
	}},
}, {
	how:  "a message has less than a MiB",
	fail: "values of MaxValue bytes",
	also: []string{"List yields values of MaxValue bytes"},
	flaw: flaw{put: func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		if len(value) >= keystore.MaxValue {
			return "", errRefused
		}
		return m.put(ctx, name, old, value)
	}},
}, {
	how:  "a name must not have an @",
	fail: "names of every allowed byte",
	flaw: flaw{put: func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		if strings.Contains(name, "@") {
			return "", errRefused
		}
		return m.put(ctx, name, old, value)
	}},
}, {
	how:  "names are cut off one byte early",
	fail: "names of MaxName bytes",
	flaw: renamed(func(name string) string { return name[:min(len(name), keystore.MaxName-1)] }),
}}

// renamed keeps items under other names than they have.
func renamed(rename func(string) string) flaw {
	return flaw{get: func(m *model, ctx context.Context, name string) (keystore.Item, error) {
		item, err := m.get(ctx, rename(name))
		item.Name = name
		return item, err
	}, put: func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		return m.put(ctx, rename(name), old, value)
	}}
}

func hideHistory(prefix, name string) bool {
	return strings.HasPrefix(name, prefix) && !strings.HasPrefix(name, "history ")
}

// linger lets other goroutines run, as a round trip to a server would.
func linger() {
	for range 20 {
		runtime.Gosched()
	}
}
