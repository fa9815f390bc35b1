package kit

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
)

// A Counted store is in Memory, and counts what it is asked.
type Counted struct {
	keystore.Memory
	Gets, Looks int
	Down        error
	Lost        keystore.Cursor // as if a failover had lost that many replacements
}

// Get counts, and fails with Down.
func (c *Counted) Get(ctx context.Context, name string) (keystore.Item, error) {
	c.Gets++
	if c.Down != nil {
		return keystore.Item{}, c.Down
	}
	return c.Memory.Get(ctx, name)
}

// A PlainStore is a Counted store without any further ability.
type PlainStore struct{ Counted *Counted }

// Get asks the Counted store.
func (p PlainStore) Get(ctx context.Context, name string) (keystore.Item, error) {
	return p.Counted.Get(ctx, name)
}

// Put asks the Counted store.
func (p PlainStore) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	return p.Counted.Put(ctx, name, old, value)
}

// List asks the Counted store.
func (p PlainStore) List(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	return p.Counted.List(ctx, prefix, after)
}

// A FeedStore is a PlainStore with a Feed that has to be asked.
type FeedStore struct{ PlainStore }

// Changes counts as a look, and fails with Down.
func (f FeedStore) Changes(ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
	c := f.Counted
	c.Looks++
	if c.Down != nil {
		return nil, 0, c.Down
	}
	names, head, err := c.Memory.Changes(ctx, segment, after)
	return names, head - min(head, c.Lost), err
}

// Wraps are what a Counted store is to a Manager: its own, followed by its feed, or asked each time.
func Wraps() map[string]func(*Counted) keystore.Store {
	return map[string]func(*Counted) keystore.Store{
		"own":   func(c *Counted) keystore.Store { return c },
		"feed":  func(c *Counted) keystore.Store { return FeedStore{PlainStore{c}} },
		"plain": func(c *Counted) keystore.Store { return PlainStore{c} },
	}
}

// TwoProcesses makes two Managers over one store, as two processes would have it.
func TwoProcesses(t testing.TB, wrap func(*Counted) keystore.Store, staleness time.Duration) (k *kmstest.KMS, other *kms.Manager, c *Counted) {
	t.Helper()
	c = &Counted{}
	k = kmstest.New(t, func(config *kms.Config) { config.Store, config.MaxStaleness = wrap(c), staleness })
	return k, k.Another(t), c
}

// A Shared store is one that many processes have, and that can be watched.
type Shared struct {
	Memory      keystore.Memory
	Gets, Looks atomic.Int64
	Down, Hangs atomic.Bool
	Moved       atomic.Pointer[func(segment string)] // nil: nobody watches
}

// Get counts.
func (s *Shared) Get(ctx context.Context, name string) (keystore.Item, error) {
	s.Gets.Add(1)
	return s.Memory.Get(ctx, name)
}

// Put asks the Memory.
func (s *Shared) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	return s.Memory.Put(ctx, name, old, value)
}

// List asks the Memory.
func (s *Shared) List(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	return s.Memory.List(ctx, prefix, after)
}

// Changes counts as a look. It fails while the store is Down, and hangs while it Hangs.
func (s *Shared) Changes(ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
	s.Looks.Add(1)
	switch {
	case s.Down.Load():
		return nil, 0, errors.New("connection refused")
	case s.Hangs.Load():
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	return s.Memory.Changes(ctx, segment, after)
}

// Watch gives the test the function to call when something moved.
func (s *Shared) Watch(ctx context.Context, moved func(segment string)) error {
	s.Moved.Store(&moved)
	<-ctx.Done()
	s.Moved.Store(nil)
	return ctx.Err()
}
