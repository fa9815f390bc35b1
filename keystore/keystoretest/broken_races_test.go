package keystoretest_test

import (
	"bytes"
	"context"
	"iter"

	"github.com/keyhold/kms/keystore"
)

var brokenRaces = []broken{{
	how:  "an update compares first and writes later",
	fail: "writers of one counter lose nothing",
	flaw: flaw{put: unlocked(func(old keystore.Version) bool { return old != "" })},
}, {
	how:  "a create looks first and writes later",
	fail: "of many creators one wins",
	flaw: flaw{put: unlocked(func(old keystore.Version) bool { return old == "" })},
}, {
	how:  "there are two replicas, and for a moment one of them is behind",
	fail: "what was read is not unread",
	luck: []string{"what a follower keeps is never stale"},
	flaw: flaw{put: func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		before, err := m.get(ctx, name)
		version, errPut := m.put(ctx, name, old, value)
		if err != nil || errPut != nil {
			return version, errPut
		}
		m.mu.Lock()
		m.behind[name] = before
		m.mu.Unlock()
		linger()
		m.mu.Lock()
		delete(m.behind, name)
		m.mu.Unlock()
		return version, nil
	}, get: func(m *model, ctx context.Context, name string) (keystore.Item, error) {
		m.mu.Lock()
		before, late := m.behind[name]
		m.mu.Unlock()
		if late && m.held.Add(1)%2 == 0 {
			return before, nil
		}
		return m.get(ctx, name)
	}},
}, {
	how:  "a read fills a cache, whoever put meanwhile",
	fail: "what was read is not unread",
	luck: []string{"what a follower keeps is never stale"},
	flaw: flaw{put: func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		version, err := m.put(ctx, name, old, value)
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.behind, name) // also after a refusal: who lost reads anew
		return version, err
	}, get: func(m *model, ctx context.Context, name string) (keystore.Item, error) {
		m.mu.Lock()
		kept, ok := m.behind[name]
		m.mu.Unlock()
		if ok && m.usable(ctx) == nil {
			kept.Value = bytes.Clone(kept.Value)
			return kept, nil
		}
		item, err := m.get(ctx, name)
		if err != nil {
			return item, err
		}
		linger()
		m.mu.Lock()
		defer m.mu.Unlock()
		m.behind[name] = item
		item.Value = bytes.Clone(item.Value)
		return item, nil
	}},
}, {
	how:  "a writer is told the version of whoever wrote last",
	fail: "writers of many names all succeed",
	also: []string{"a long way back is answered in full or with ErrGap", "a gap comes with a good head", "the head does not go back while many put"},
	flaw: flaw{put: func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		version, err := m.put(ctx, name, old, value)
		if err != nil {
			return "", err
		}
		m.mu.Lock()
		m.items["last"] = keystore.Item{Version: version}
		m.mu.Unlock()
		linger()
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.items["last"].Version, nil
	}, under: func(prefix, name string) bool {
		return name != "last" && hideHistory(prefix, name)
	}},
}}

// unlocked is a Put that does not hold the lock between comparing and writing.
func unlocked(when func(old keystore.Version) bool) func(*model, context.Context, string, keystore.Version, []byte) (keystore.Version, error) {
	return func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		if err := m.usable(ctx); err != nil || !when(old) {
			return m.put(ctx, name, old, value)
		}
		m.mu.Lock()
		current := m.items[name].Version
		m.mu.Unlock()
		if current != old {
			return "", keystore.ErrConflict
		}
		linger()
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.write(name, value, old != ""), nil
	}
}

var brokenContexts = []broken{{
	how:  "Get does not look at its context",
	fail: "Get ends with its context",
	flaw: flaw{get: func(m *model, _ context.Context, name string) (keystore.Item, error) {
		return m.get(context.Background(), name)
	}},
}, {
	how:  "Put does not look at its context",
	fail: "Put ends with its context",
	flaw: flaw{put: func(m *model, _ context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		return m.put(context.Background(), name, old, value)
	}},
}, {
	how:  "a list that is too late is empty",
	fail: "List ends with its context",
	flaw: flaw{list: func(m *model, ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
		return func(yield func(keystore.Item, error) bool) {
			if ctx.Err() == nil {
				m.list(ctx, prefix, after)(yield)
			}
		}
	}},
}, {
	how:  "a list that is cut off looks complete",
	fail: "List ends when its context ends in the loop",
	flaw: flaw{list: func(m *model, ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
		return func(yield func(keystore.Item, error) bool) {
			n := 0
			for item, err := range m.list(ctx, prefix, after) {
				if ctx.Err() != nil && n > 0 || !yield(item, err) {
					return
				}
				n++
			}
		}
	}},
}, {
	how:  "Changes does not look at its context",
	fail: "Changes ends with its context",
	flaw: flaw{changes: func(m *model, _ context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
		return m.changes(context.Background(), segment, after)
	}},
}, {
	how:  "Watch ends without saying why",
	fail: "Watch ends with its context",
	flaw: flaw{watch: func(_ *model, ctx context.Context) error {
		<-ctx.Done()
		return nil
	}},
}}

var brokenReopens = []broken{{
	how:  "empty values are not kept",
	fail: "what was put is there after the store was opened again",
	flaw: flaw{reopened: func(d *disk) {
		for name, item := range d.items {
			if len(item.Value) == 0 {
				delete(d.items, name)
			}
		}
	}},
}, {
	how:  "versions begin anew with the process",
	fail: "versions never repeat after the store was opened again",
	flaw: flaw{reopened: func(d *disk) { d.puts = 0 }},
}, {
	how:  "a closed store goes on",
	fail: "a closed store is ErrClosed",
	flaw: flaw{immortal: true},
}}
