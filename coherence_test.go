package kms_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestObeyedAtOnce: with MaxStaleness 0 a change by one process is obeyed by another at
// once, whatever the store can do.
func TestObeyedAtOnce(t *testing.T) {
	for name, wrap := range kit.Wraps() {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			k, other, _ := kit.TwoProcesses(t, wrap, 0)
			id := k.MustCreateKey(t).ID
			second := k.MustCreateKey(t).ID
			require.NoError(t, k.CreateAlias(ctx, "alias/a", id))
			for range 5 {
				require.NoError(t, kit.Err(other.Encrypt(ctx, "alias/a", nil, nil)))
				require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
				require.ErrorIs(t, kit.Err(other.Encrypt(ctx, id, nil, nil)), kms.ErrDisabled)
				require.NoError(t, k.UpdateAlias(ctx, "alias/a", second))
				require.NoError(t, kit.Err(other.Encrypt(ctx, "alias/a", nil, nil)))
				require.NoError(t, k.UpdateAlias(ctx, "alias/a", id))
				require.ErrorIs(t, kit.Err(other.Encrypt(ctx, "alias/a", nil, nil)), kms.ErrDisabled)
				require.NoError(t, kit.Err(k.EnableKey(ctx, id)))
			}
			require.NoError(t, k.DeleteAlias(ctx, "alias/a"))
			require.ErrorIs(t, kit.Err(other.Encrypt(ctx, "alias/a", nil, nil)), kms.ErrNotFound)
		})
	}
}

// TestObeyedWithinTheBound: with MaxStaleness a change is obeyed when the bound is over, to
// the nanosecond; until then nothing is asked of the store; and a store that does not
// answer then refuses the call.
func TestObeyedWithinTheBound(t *testing.T) {
	for _, name := range []string{"feed", "plain"} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			k, other, s := kit.TwoProcesses(t, kit.Wraps()[name], time.Second)
			id := k.MustCreateKey(t).ID
			require.NoError(t, kit.Err(other.Encrypt(ctx, id, nil, nil)))
			require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
			require.ErrorIs(t, kit.Err(k.Encrypt(ctx, id, nil, nil)), kms.ErrDisabled, "its own change")

			asked := s.Gets + s.Looks
			k.Clock.Advance(time.Second - 1)
			require.NoError(t, kit.Err(other.Encrypt(ctx, id, nil, nil)))
			require.Equal(t, asked, s.Gets+s.Looks, "the store was asked before the bound was over")
			k.Clock.Advance(1)
			s.Down = errors.New("connection refused")
			require.ErrorIs(t, kit.Err(other.Encrypt(ctx, id, nil, nil)), kms.ErrUnavailable)
			s.Down = nil
			require.ErrorIs(t, kit.Err(other.Encrypt(ctx, id, nil, nil)), kms.ErrDisabled)

			require.NoError(t, kit.Err(k.EnableKey(ctx, id)))
			k.Clock.Advance(-time.Hour) // a clock that went back keeps no promise for longer
			require.NoError(t, kit.Err(other.Encrypt(ctx, id, nil, nil)))
		})
	}
}

// TestFailover: a feed whose position went back has lost writes, and nothing that was read
// before is used.
func TestFailover(t *testing.T) {
	ctx := t.Context()
	k, other, s := kit.TwoProcesses(t, kit.Wraps()["feed"], time.Second)
	id := k.MustCreateKey(t).ID
	require.NoError(t, kit.Err(k.SetDescription(ctx, id, "1")))
	require.NoError(t, kit.Err(other.Encrypt(ctx, id, nil, nil)))
	gets := s.Gets
	s.Lost = 1
	k.Clock.Advance(time.Second)
	require.NoError(t, kit.Err(other.Encrypt(ctx, id, nil, nil)))
	require.Equal(t, gets+1, s.Gets, "the key was not read again")
}

// TestHotPathReadsNothing: what was used once is used again without the store being asked.
func TestHotPathReadsNothing(t *testing.T) {
	ctx := t.Context()
	k, _, s := kit.TwoProcesses(t, kit.Wraps()["own"], 0)
	id := k.MustCreateKey(t).ID
	require.NoError(t, k.CreateAlias(ctx, "alias/a", id))
	c, err := k.Encrypt(ctx, "alias/a", nil, nil)
	require.NoError(t, err)
	s.Gets = 0
	s.Down = errors.New("nobody should ask")
	for range 100 {
		require.NoError(t, kit.Err(k.GenerateDataKey(ctx, "alias/a", nil)))
		require.NoError(t, kit.Err(k.Decrypt(ctx, c, nil)))
	}
	require.Zero(t, s.Gets)
}

// TestSlowReader: one who read a key before it was changed, and comes to keep it after the
// same Manager has learned of the change, does not put the old one back.
func TestSlowReader(t *testing.T) {
	for _, name := range []string{"own", "feed"} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			k, _, s := kit.TwoProcesses(t, kit.Wraps()[name], 0)
			id, quick := k.MustCreateKey(t).ID, k.MustCreateKey(t).ID
			held := &holding{Store: kit.Wraps()[name](s), name: "key/" + id, read: make(chan struct{}), goOn: make(chan struct{})}
			reader := k.Another(t, func(c *kms.Config) { c.Store = held })
			slow := make(chan error)
			go func() { slow <- kit.Err(reader.Encrypt(ctx, id, nil, nil)) }()
			<-held.read
			require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
			require.NoError(t, kit.Err(reader.Encrypt(ctx, quick, nil, nil)), "this call learns of the change")
			close(held.goOn)
			require.NoError(t, <-slow, "it began before the change")
			require.ErrorIs(t, kit.Err(reader.Encrypt(ctx, id, nil, nil)), kms.ErrDisabled)
		})
	}
}

// holding holds the first reader of a name between reading and returning.
type holding struct {
	keystore.Store
	name       string
	once       sync.Once
	read, goOn chan struct{}
}

func (h *holding) Unwrap() keystore.Store { return h.Store }

func (h *holding) Get(ctx context.Context, name string) (keystore.Item, error) {
	item, err := h.Store.Get(ctx, name)
	if name == h.name {
		h.once.Do(func() {
			close(h.read)
			<-h.goOn
		})
	}
	return item, err
}

// TestSlowStore: a lease counts from when the store was asked, not from when it answered.
func TestSlowStore(t *testing.T) {
	for _, name := range []string{"feed", "plain"} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			k, _, s := kit.TwoProcesses(t, kit.Wraps()[name], time.Second)
			id := k.MustCreateKey(t).ID
			slow := &slowly{Store: kit.Wraps()[name](s), clock: k.Clock}
			reader := k.Another(t, func(c *kms.Config) { c.Store = slow })
			slow.by = 10 * time.Second
			require.NoError(t, kit.Err(reader.Encrypt(ctx, id, nil, nil)))
			slow.by = 0
			require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
			require.ErrorIs(t, kit.Err(reader.Encrypt(ctx, id, nil, nil)), kms.ErrDisabled)
		})
	}
}

// slowly lets time pass while it reads.
type slowly struct {
	keystore.Store
	clock *kmstest.Clock
	by    time.Duration
}

func (s *slowly) Unwrap() keystore.Store { return s.Store }

func (s *slowly) Get(ctx context.Context, name string) (keystore.Item, error) {
	item, err := s.Store.Get(ctx, name)
	s.clock.Advance(s.by)
	return item, err
}

// TestSlowFeed: the lease of a look at the feed counts from when it was asked, too.
func TestSlowFeed(t *testing.T) {
	ctx := t.Context()
	var slow *slowlyFeed
	k, reader, _ := kit.TwoProcesses(t, func(s *kit.Counted) keystore.Store {
		slow = &slowlyFeed{FeedStore: kit.FeedStore{PlainStore: kit.PlainStore{Counted: s}}}
		return slow
	}, time.Second)
	id := k.MustCreateKey(t).ID
	slow.clock, slow.by = k.Clock, 10*time.Second
	k.Clock.Advance(time.Second)
	require.NoError(t, kit.Err(reader.Encrypt(ctx, id, nil, nil)))
	slow.by = 0
	require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
	require.ErrorIs(t, kit.Err(reader.Encrypt(ctx, id, nil, nil)), kms.ErrDisabled)
}

// slowlyFeed lets time pass while it tells of changes.
type slowlyFeed struct {
	kit.FeedStore
	clock *kmstest.Clock
	by    time.Duration
}

func (s *slowlyFeed) Changes(ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
	names, head, err := s.FeedStore.Changes(ctx, segment, after)
	if s.by > 0 {
		s.clock.Advance(s.by)
	}
	return names, head, err
}

// TestCacheIsBounded: many more keys than there is room for, all of them right.
func TestCacheIsBounded(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, func(c *kms.Config) { c.CacheKeys = 1 })
	ids := map[string][]byte{}
	for range 200 {
		id := k.MustCreateKey(t).ID
		c, err := k.Encrypt(ctx, id, []byte(id), nil)
		require.NoError(t, err)
		ids[id] = c
	}
	for range 2 {
		for id, c := range ids {
			plain, err := k.Decrypt(ctx, c, nil)
			require.NoError(t, err)
			require.Equal(t, id, string(plain))
		}
	}
	require.LessOrEqual(t, kms.Cached(k.Manager), 8)
}

// TestOneLookForMany: calls that wait for a look at the store share the next one.
func TestOneLookForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := &kit.Shared{}
		k := kmstest.New(t, func(c *kms.Config) { c.Store = s })
		id := k.MustCreateKey(t).ID
		held := &heldFeed{Shared: s, looking: make(chan struct{}), goOn: make(chan struct{})}
		m := k.Another(t, func(c *kms.Config) { c.Store = held })
		opened := held.Looks.Load()
		held.hold.Store(true)
		errs := make([]error, 32)
		for i := range errs {
			go func() { errs[i] = kit.Err(m.Encrypt(ctx, id, nil, nil)) }()
			if i == 0 {
				<-held.looking // the others come while the first looks
			}
		}
		synctest.Wait()
		held.goOn <- struct{}{}
		<-held.looking
		held.goOn <- struct{}{}
		synctest.Wait()
		require.NoError(t, errors.Join(errs...))
		require.EqualValues(t, 2, held.Looks.Load()-opened, "one for the first, one for all others")
	})
}

// heldFeed holds every look, from when it is to hold, until it is told to go on.
type heldFeed struct {
	*kit.Shared
	hold          atomic.Bool
	looking, goOn chan struct{}
}

func (h *heldFeed) Changes(ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
	if h.hold.Load() {
		h.looking <- struct{}{}
		<-h.goOn
	}
	return h.Shared.Changes(ctx, segment, after)
}

// TestRunKeepsFresh: while Run runs, calls find the store's changes in memory, and ask it
// nothing; a look that fails is made up for by the next; and what hangs is given up.
func TestRunKeepsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 3 * time.Second
		ctx, stop := context.WithCancel(t.Context())
		s := &kit.Shared{}
		k := kmstest.New(t, func(c *kms.Config) { c.Store, c.MaxStaleness, c.Now = s, bound, time.Now })
		id := k.MustCreateKey(t).ID
		m := k.Another(t)
		use := func() error { return kit.Err(m.Encrypt(ctx, id, nil, nil)) }
		after := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		ran := make(chan error)
		go func() { ran <- m.Run(ctx) }()
		synctest.Wait()
		require.NoError(t, use())
		gets := s.Gets.Load()
		for range 100 {
			after(bound / 10)
			looks := s.Looks.Load()
			require.NoError(t, use())
			require.Equal(t, looks, s.Looks.Load(), "a call had to look")
		}
		require.Equal(t, gets, s.Gets.Load())

		require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
		after(bound/3 + 1)
		require.ErrorIs(t, use(), kms.ErrDisabled, "seen by the next look")
		require.NoError(t, kit.Err(k.EnableKey(ctx, id)))
		(*s.Moved.Load())("key/")
		synctest.Wait()
		require.NoError(t, use(), "seen at once by who is told")

		s.Down.Store(true)
		after(bound/3 - 1)
		require.NoError(t, use(), "within the bound")
		after(bound)
		require.ErrorIs(t, use(), kms.ErrUnavailable)
		s.Down.Store(false)
		after(bound / 3)
		require.NoError(t, use())

		s.Hangs.Store(true)
		after(bound)
		begun := time.Now()
		require.ErrorIs(t, use(), kms.ErrUnavailable)
		require.LessOrEqual(t, time.Since(begun), 4*time.Second, "the look before it, and its own")
		s.Hangs.Store(false)
		stop()
		require.ErrorIs(t, <-ran, context.Canceled)
		require.Nil(t, s.Moved.Load(), "Run left the watching behind")
	})
}
