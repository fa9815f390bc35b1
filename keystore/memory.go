package keystore

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/keyhold/kms/keystore/internal/ring"
)

// Memory is a Store in memory, for tests: nothing outlives the process. The zero Memory is
// ready, must not be copied after its first use, and has a Feed of the last 1024
// replacements of every segment. A nil Memory is a Store that was never opened.
type Memory struct {
	mu    sync.RWMutex
	items map[string]Item
	names []string // sorted
	puts  uint64
	ring  ring.Ring
}

var (
	_ Store = (*Memory)(nil)
	_ Local = (*Memory)(nil)
)

// Get implements Store.
func (m *Memory) Get(ctx context.Context, name string) (Item, error) {
	if ctx.Err() != nil {
		return Item{}, ctx.Err()
	}
	if m == nil {
		return Item{}, ErrClosed
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	item, ok := m.items[name]
	if !ok {
		return Item{}, ErrNotFound
	}
	item.Value = bytes.Clone(item.Value)
	return item, nil
}

// Put implements Store.
func (m *Memory) Put(ctx context.Context, name string, old Version, value []byte) (Version, error) {
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if m == nil {
		return "", ErrClosed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.items[name].Version != old {
		return "", ErrConflict
	}
	m.puts++
	version := Version(strconv.FormatUint(m.puts, 10))
	if m.items == nil {
		m.items = map[string]Item{}
	}
	m.items[name] = Item{Name: name, Value: bytes.Clone(value), Version: version}
	if old != "" {
		m.ring.Replaced(name)
		return version, nil
	}
	at, _ := slices.BinarySearch(m.names, name)
	m.names = slices.Insert(m.names, at, name)
	return version, nil
}

// List implements Store.
func (m *Memory) List(ctx context.Context, prefix, after string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		if m == nil {
			yield(Item{}, ErrClosed)
			return
		}
		last := m.last(prefix)
		for at := after; ; {
			if ctx.Err() != nil {
				yield(Item{}, ctx.Err())
				return
			}
			item, ok := m.next(prefix, at)
			if !ok || item.Name > last || !yield(item, nil) {
				return
			}
			at = item.Name
		}
	}
}

// last returns the last name under prefix that there is now, or "".
func (m *Memory) last(prefix string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	from, _ := slices.BinarySearch(m.names, prefix)
	under := sort.Search(len(m.names)-from, func(i int) bool { return !strings.HasPrefix(m.names[from+i], prefix) })
	if under == 0 {
		return ""
	}
	return m.names[from+under-1]
}

// next returns the first item under prefix that sorts after a name.
func (m *Memory) next(prefix, after string) (Item, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	at, found := slices.BinarySearch(m.names, max(prefix, after))
	if found && m.names[at] == after {
		at++
	}
	if at == len(m.names) || !strings.HasPrefix(m.names[at], prefix) {
		return Item{}, false
	}
	item := m.items[m.names[at]]
	item.Value = bytes.Clone(item.Value)
	return item, true
}

// Changes implements Feed.
func (m *Memory) Changes(ctx context.Context, segment string, after Cursor) ([]string, Cursor, error) {
	if ctx.Err() != nil {
		return nil, 0, ctx.Err()
	}
	if m == nil {
		return nil, 0, ErrClosed
	}
	names, head, ok := m.ring.Changes(segment, uint64(after))
	if !ok {
		return nil, Cursor(head), ErrGap
	}
	return names, Cursor(head), nil
}

// Head implements Local.
func (m *Memory) Head(segment string) func() Cursor {
	if m == nil {
		return func() Cursor { return 0 }
	}
	head := m.ring.Head(segment)
	return func() Cursor { return Cursor(head()) }
}
