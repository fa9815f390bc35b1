package keystoretest_test

import (
	"context"
	"errors"
	"math"
	"runtime"

	"github.com/keyhold/kms/keystore"
)

var brokenFollows = []broken{{
	how:  "the feed tells of a Put before it can be read",
	fail: "what a follower keeps is never stale",
	luck: []string{"what was read is not unread"},
	flaw: flaw{put: func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		before, errBefore := m.get(ctx, name)
		if errBefore == nil {
			m.mu.Lock()
			if _, busy := m.behind[name]; !busy && before.Version == old {
				m.behind[name] = before
			}
			m.mu.Unlock()
		}
		version, err := m.put(ctx, name, old, value)
		// It takes until somebody has read what is no longer so, if anybody does.
		for seen, n := m.held.Load(), 0; errBefore == nil && err == nil && m.held.Load() < seen+3 && n < 1000; n++ {
			runtime.Gosched()
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.behind[name].Version == old {
			delete(m.behind, name)
		}
		return version, err
	}, get: func(m *model, ctx context.Context, name string) (keystore.Item, error) {
		m.mu.Lock()
		before, late := m.behind[name]
		m.mu.Unlock()
		if late {
			m.held.Add(1)
			return before, nil
		}
		return m.get(ctx, name)
	}},
}, {
	how:  "the head is asked of one of two replicas, and one is behind while somebody puts",
	fail: "the head does not go back while many put",
	flaw: flaw{put: func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
		m.held.Add(1)
		defer m.held.Add(-1)
		linger()
		return m.put(ctx, name, old, value)
	}, changes: func(m *model, ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
		names, head, err := m.changes(ctx, segment, after)
		if err == nil && after > 0 && head == after && m.held.Load() > 0 {
			head--
		}
		return names, head, err
	}},
}, {
	how:  "the head of a gap counts from one",
	fail: "a gap comes with a good head",
	flaw: flaw{changes: func(m *model, ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
		names, head, err := m.changes(ctx, segment, after)
		if errors.Is(err, keystore.ErrGap) && after < head {
			head++
		}
		return names, head, err
	}},
}, {
	how:  "what is yet to come is told with an older head and no gap",
	fail: "a gap comes with a good head",
	flaw: flaw{changes: func(m *model, ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
		names, head, err := m.changes(ctx, segment, after)
		if errors.Is(err, keystore.ErrGap) && after > head {
			return nil, head, nil
		}
		return names, head, err
	}},
}, {
	how:  "positions have a sign",
	fail: "a gap comes with a good head",
	flaw: flaw{changes: func(m *model, ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
		if after > math.MaxInt64 {
			return nil, after, nil
		}
		return m.changes(ctx, segment, after)
	}},
}}
