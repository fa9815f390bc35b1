package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/internal/storetest"
	"github.com/keyhold/kms/keystore/pgstore"
	"github.com/keyhold/kms/software"
)

// unwatched is a pgstore that tells of nothing, as behind a pooler.
type unwatched struct {
	keystore.Store
	keystore.Feed
}

// TestStaleness: a disable is obeyed by all within MaxStaleness, by those who are told of it
// much earlier.
func TestStaleness(t *testing.T) {
	t.Parallel()
	const (
		bound = 100 * time.Millisecond
		keys  = 500
	)
	rounds := campaign.Size(4, 40)
	ctx, cancel := context.WithCancel(t.Context())
	opts := newTable()
	root, err := software.NewRoot(rootKey)
	require.NoError(t, err)
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	manager := func(run bool, wrap func(*pgstore.Store) keystore.Store) *kms.Manager {
		s := open(t, dsn(t, "pool_max_conns=4"), opts)
		m, err := kms.Open(ctx, kms.Config{Store: wrap(s), Root: root, Software: software.New(), MaxStaleness: bound})
		require.NoError(t, err)
		if run {
			running.Go(func() { _ = m.Run(ctx) })
		}
		t.Cleanup(running.Wait)
		t.Cleanup(cancel)
		return m
	}
	whole := func(s *pgstore.Store) keystore.Store { return s }
	writer := manager(false, whole)
	followers := []*follower{
		{name: "told by NOTIFY", m: manager(true, whole)},
		{name: "polling", m: manager(true, func(s *pgstore.Store) keystore.Store { return unwatched{s, s} })},
		{name: "without Run", m: manager(false, whole)},
	}
	ids := make([]string, keys)
	for i := range ids {
		key, err := writer.CreateKey(ctx, nil)
		require.NoError(t, err)
		ids[i] = key.ID
	}
	change := func(f func(context.Context, string) (kms.Key, error)) []time.Time {
		returned, errs := make([]time.Time, keys), make([]error, keys)
		var all sync.WaitGroup
		for i, id := range ids {
			all.Go(func() {
				_, errs[i] = f(ctx, id)
				returned[i] = time.Now()
			})
		}
		all.Wait()
		require.NoError(t, errors.Join(errs...))
		return returned
	}
	for range rounds {
		for _, f := range followers {
			f.until(ctx, t, ids, nil)
		}
		var all sync.WaitGroup
		for _, f := range followers {
			f.lastUse = make([]time.Time, keys)
			all.Go(func() { f.err = f.use(ctx, ids) })
		}
		returned := change(writer.DisableKey)
		all.Wait()
		for _, f := range followers {
			require.NoError(t, f.err)
			for i, at := range returned {
				f.seen = append(f.seen, max(0, f.lastUse[i].Sub(at)))
			}
		}
		change(writer.EnableKey)
	}
	for _, f := range followers {
		slices.Sort(f.seen)
		n := len(f.seen)
		t.Logf("%s: of %d disables the last use began %v after the disable returned at worst, %v for one in a hundred, %v in the median",
			f.name, n, f.seen[n-1], f.seen[n*99/100], f.seen[n/2])
		require.LessOrEqual(t, f.seen[n-1], bound, f.name)
	}
}

// A follower is one who uses keys that another disables.
type follower struct {
	name    string
	m       *kms.Manager
	lastUse []time.Time // when the last use of each key began that was not refused
	seen    []time.Duration
	err     error
}

// use uses all keys in turn until each is refused.
func (f *follower) use(ctx context.Context, ids []string) error {
	refused := map[int]bool{}
	for len(refused) < len(ids) {
		for i, id := range ids {
			if refused[i] {
				continue
			}
			begun := time.Now()
			switch _, err := f.m.Encrypt(ctx, id, nil, nil); {
			case err == nil:
				f.lastUse[i] = begun
			case errors.Is(err, kms.ErrDisabled):
				refused[i] = true
			default:
				return err
			}
		}
	}
	return nil
}

// until uses all keys until none is refused.
func (f *follower) until(ctx context.Context, t *testing.T, ids []string, want error) {
	for _, id := range ids {
		storetest.Until(func() bool {
			_, err := f.m.Encrypt(ctx, id, nil, nil)
			require.True(t, err == nil || errors.Is(err, kms.ErrDisabled), "%v", err)
			return errors.Is(err, want)
		})
	}
}

// counting counts what is asked of the store behind it.
type counting struct {
	*pgstore.Store
	gets, looks atomic.Int64
}

func (c *counting) Get(ctx context.Context, name string) (keystore.Item, error) {
	c.gets.Add(1)
	return c.Store.Get(ctx, name)
}

func (c *counting) Changes(ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
	c.looks.Add(1)
	return c.Store.Changes(ctx, segment, after)
}

// TestUsesAskNothing: within MaxStaleness of a look, uses ask the server nothing.
func TestUsesAskNothing(t *testing.T) {
	t.Parallel()
	s := &counting{Store: open(t, dsn(t), newTable())}
	root, err := software.NewRoot(rootKey)
	require.NoError(t, err)
	m, err := kms.Open(t.Context(), kms.Config{Store: s, Root: root, Software: software.New(), MaxStaleness: time.Hour})
	require.NoError(t, err)
	key, err := m.CreateKey(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, m.CreateAlias(t.Context(), "alias/a", key.ID))
	use := func() {
		c, err := m.Encrypt(t.Context(), "alias/a", []byte("text"), nil)
		require.NoError(t, err)
		_, err = m.Decrypt(t.Context(), c, nil)
		require.NoError(t, err)
	}
	use()
	asked := fmt.Sprint(s.gets.Load(), s.looks.Load())
	for range 1000 {
		use()
	}
	require.Equal(t, asked, fmt.Sprint(s.gets.Load(), s.looks.Load()))
}
