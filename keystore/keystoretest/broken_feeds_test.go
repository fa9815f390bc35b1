package keystoretest_test

import (
	"context"
	"errors"
	"slices"

	"github.com/keyhold/kms/keystore"
)

var brokenFeeds = []broken{{
	how:  "a name is in the feed once, where it was replaced first",
	fail: "what was replaced is in the feed when Put returns",
	also: []string{"a gap comes with a good head"},
	luck: []string{"what a follower keeps is never stale"},
	flaw: flaw{changes: func(m *model, ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
		names, head, err := m.changes(ctx, segment, after)
		m.mu.Lock()
		defer m.mu.Unlock()
		before := m.feed[segment][:min(int(after), len(m.feed[segment]))]
		return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(before, name) }), head, err
	}},
}, {
	how:  "creates are in the feed",
	fail: "a create moves nothing",
	flaw: flaw{written: func(m *model, item keystore.Item, replaced bool) keystore.Item {
		if !replaced {
			s := segmentOf(item.Name)
			m.feed[s] = append(m.feed[s], item.Name)
		}
		return item
	}},
}, {
	how:  "all segments have one feed",
	fail: "other segments are not disturbed",
	flaw: flaw{written: func(m *model, item keystore.Item, replaced bool) keystore.Item {
		for _, s := range []string{"key/", "alias/"} {
			if replaced && s != segmentOf(item.Name) {
				m.feed[s] = append(m.feed[s], item.Name)
			}
		}
		return item
	}},
}, {
	how:  "a position counts what is at it",
	fail: "the head only grows, and only with what was replaced",
	also: []string{"a gap comes with a good head"},
	flaw: flaw{changes: func(m *model, ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
		names, head, err := m.changes(ctx, segment, after)
		if err == nil && after > 0 {
			return m.changes(ctx, segment, after-1)
		}
		return names, head, err
	}},
}, {
	how:  "a feed that does not reach back tells what it has",
	fail: "a long way back is answered in full or with ErrGap",
	flaw: flaw{changes: func(m *model, ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
		names, head, err := m.changes(ctx, segment, after)
		if errors.Is(err, keystore.ErrGap) && after < head {
			return m.changes(ctx, segment, head-remembered)
		}
		return names, head, err
	}},
}, {
	how:  "the head is whatever the follower has",
	fail: "a position that is yet to come is told from the head",
	also: []string{"a gap comes with a good head"},
	flaw: flaw{changes: func(m *model, ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
		names, head, err := m.changes(ctx, segment, after)
		if errors.Is(err, keystore.ErrGap) && after > head {
			return nil, after, nil
		}
		return names, head, err
	}},
}, {
	how:  "a Put takes its position before it is committed",
	fail: "many at once are all in the feed",
	luck: []string{"what a follower keeps is never stale"},
	flaw: flaw{put: func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		if err := m.usable(ctx); err != nil || old == "" {
			return m.put(ctx, name, old, value)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.items[name].Version != old {
			return "", keystore.ErrConflict
		}
		s := segmentOf(name)
		at := len(m.feed[s])
		version := m.write(name, value, true)
		m.feed[s][at] = ""
		m.mu.Unlock()
		linger()
		m.mu.Lock()
		m.feed[s][at] = name
		return version, nil
	}},
}, {
	how:  "the head in memory is the one of when it was asked for",
	fail: "the head in memory is that of the feed",
	luck: []string{"what a follower keeps is never stale"},
	flaw: flaw{head: func(m *model, segment string) func() keystore.Cursor {
		_, head, _ := m.changes(context.Background(), segment, 0)
		return func() keystore.Cursor { return head }
	}},
}}
