package keystoretest_test

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/keyhold/kms/keystore"
)

// A model is a Store that is right and can be made wrong in one place, by a flaw.
type model struct {
	*disk
	flaw   flaw
	closed atomic.Bool
}

// A disk is what outlives a model.
type disk struct {
	mu     sync.Mutex
	items  map[string]keystore.Item
	puts   int
	feed   map[string][]string
	behind map[string]keystore.Item // what a replica has that is behind
	counts map[string]int           // for flaws that count
	held   atomic.Int64             // for flaws that run out of something
}

// A flaw has what is wrong; everything else is right.
type flaw struct {
	get      func(m *model, ctx context.Context, name string) (keystore.Item, error)
	put      func(m *model, ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error)
	list     func(m *model, ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error]
	changes  func(m *model, ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error)
	head     func(m *model, segment string) func() keystore.Cursor
	watch    func(m *model, ctx context.Context) error
	reopened func(d *disk)
	immortal bool // does not know that it was closed

	// what the right methods ask on their way
	matches func(m *model, current keystore.Item, there bool, old keystore.Version) bool
	written func(m *model, item keystore.Item, replaced bool) keystore.Item
	refused func(m *model, name string)
	under   func(prefix, name string) bool
	order   func(a, b string) int
}

func newModel(f flaw) *model {
	return &model{flaw: f, disk: &disk{items: map[string]keystore.Item{}, feed: map[string][]string{}, counts: map[string]int{}, behind: map[string]keystore.Item{}}}
}

func (m *model) reopen() *model {
	m.closed.Store(true)
	if m.flaw.reopened != nil {
		m.flaw.reopened(m.disk)
	}
	return &model{flaw: m.flaw, disk: m.disk}
}

func (m *model) usable(ctx context.Context) error {
	if m.closed.Load() && !m.flaw.immortal {
		return keystore.ErrClosed
	}
	return ctx.Err()
}

func (m *model) Get(ctx context.Context, name string) (keystore.Item, error) {
	if m.flaw.get != nil {
		return m.flaw.get(m, ctx, name)
	}
	return m.get(ctx, name)
}

func (m *model) get(ctx context.Context, name string) (keystore.Item, error) {
	if err := m.usable(ctx); err != nil {
		return keystore.Item{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	item, ok := m.items[name]
	if !ok {
		return keystore.Item{}, keystore.ErrNotFound
	}
	item.Value = bytes.Clone(item.Value)
	return item, nil
}

func (m *model) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	if m.flaw.put != nil {
		return m.flaw.put(m, ctx, name, old, value)
	}
	return m.put(ctx, name, old, value)
}

func (m *model) put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	if err := m.usable(ctx); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	current, there := m.items[name]
	matches := current.Version == old
	if m.flaw.matches != nil {
		matches = m.flaw.matches(m, current, there, old)
	}
	if !matches {
		if m.flaw.refused != nil {
			m.flaw.refused(m, name)
		}
		return "", keystore.ErrConflict
	}
	return m.write(name, value, old != ""), nil
}

// write is called with the lock held.
func (m *model) write(name string, value []byte, replaced bool) keystore.Version {
	m.puts++
	item := keystore.Item{Name: name, Value: bytes.Clone(value), Version: keystore.Version(strconv.Itoa(m.puts))}
	if m.flaw.written != nil {
		item = m.flaw.written(m, item, replaced)
	}
	m.items[name] = item
	if replaced {
		s := segmentOf(name)
		m.feed[s] = append(m.feed[s], name)
	}
	return item.Version
}

func segmentOf(name string) string { return name[:strings.IndexByte(name, '/')+1] }

func (m *model) List(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	if m.flaw.list != nil {
		return m.flaw.list(m, ctx, prefix, after)
	}
	return m.list(ctx, prefix, after)
}

func (m *model) list(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	return func(yield func(keystore.Item, error) bool) {
		if err := m.usable(ctx); err != nil {
			yield(keystore.Item{}, err)
			return
		}
		for _, name := range m.names(prefix, after) {
			item, err := m.get(ctx, name)
			if !yield(item, err) || err != nil {
				return
			}
		}
	}
}

func (m *model) names(prefix, after string) []string {
	under, order := strings.HasPrefix, cmp.Compare[string]
	if m.flaw.under != nil {
		under = func(name, prefix string) bool { return m.flaw.under(prefix, name) }
	}
	if m.flaw.order != nil {
		order = m.flaw.order
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	names := slices.Collect(maps.Keys(m.items))
	names = slices.DeleteFunc(names, func(name string) bool { return !under(name, prefix) || name <= after })
	slices.SortFunc(names, order)
	return names
}

func (m *model) Changes(ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
	if m.flaw.changes != nil {
		return m.flaw.changes(m, ctx, segment, after)
	}
	return m.changes(ctx, segment, after)
}

// Watch tells of nothing, which it may.
func (m *model) Watch(ctx context.Context, _ func(segment string)) error {
	if m.flaw.watch != nil {
		return m.flaw.watch(m, ctx)
	}
	<-ctx.Done()
	return ctx.Err()
}

// remembered is how far back the feed of a model reaches.
const remembered = 1000

func (m *model) changes(ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
	if err := m.usable(ctx); err != nil {
		return nil, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.feed[segment]
	head := keystore.Cursor(len(all))
	if after > head || head-after > remembered {
		return nil, head, keystore.ErrGap
	}
	return slices.Clone(all[after:]), head, nil
}

func (m *model) Head(segment string) func() keystore.Cursor {
	if m.flaw.head != nil {
		return m.flaw.head(m, segment)
	}
	return func() keystore.Cursor {
		_, head, _ := m.changes(context.Background(), segment, 0)
		return head
	}
}

var _ keystore.Local = (*model)(nil)
