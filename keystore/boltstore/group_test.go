package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/keystore/internal/storetest"
)

// group makes n Puts share one commit, in their order, and returns what each was told.
func group(s *boltstore.Store, n int, put func(i int) (keystore.Version, error)) []storetest.Result {
	return storetest.Group(n, s.Queued, s.HoldTurn(), put)
}

func untilQueued(s *boltstore.Store, n int) {
	storetest.Until(func() bool { return s.Queued() == n })
}

// TestGroupResults: in a group each Put gets its own result.
func TestGroupResults(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	there, err := s.Put(t.Context(), "key/there", "", []byte("old"))
	require.NoError(t, err)
	head := s.Head("key/")
	before := head()

	results := group(s, 64, func(i int) (keystore.Version, error) {
		switch i % 4 {
		case 0, 1: // creates
			return s.Put(t.Context(), fmt.Sprintf("key/%02d", i), "", []byte(strconv.Itoa(i)))
		case 2: // is there already
			return s.Put(t.Context(), "key/there", "", nil)
		default: // never was
			return s.Put(t.Context(), fmt.Sprintf("key/%02d", i), there, nil)
		}
	})
	seen := map[keystore.Version]bool{there: true}
	for i, r := range results {
		name := fmt.Sprintf("key/%02d", i)
		item, err := s.Get(t.Context(), name)
		if i%4 > 1 {
			require.ErrorIs(t, r.Err, keystore.ErrConflict)
			require.Empty(t, r.Version)
			require.ErrorIs(t, err, keystore.ErrNotFound)
			continue
		}
		require.NoError(t, r.Err)
		require.NoError(t, err)
		require.False(t, seen[r.Version])
		seen[r.Version] = true
		require.Equal(t, keystore.Item{Name: name, Value: []byte(strconv.Itoa(i)), Version: r.Version}, item)
	}
	require.Equal(t, before, head(), "nothing was replaced")
}

// TestGroupOneName: Puts to one name in one group are made one after the other.
func TestGroupOneName(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	first, err := s.Put(t.Context(), "key/a", "", []byte("0"))
	require.NoError(t, err)
	_, before, err := s.Changes(t.Context(), "key/", 0)
	require.NoError(t, err)

	// Of those that replace what is there the first wins; of those that create nobody does.
	results := group(s, 16, func(i int) (keystore.Version, error) {
		if i%2 == 0 {
			return s.Put(t.Context(), "key/a", "", []byte("created"))
		}
		return s.Put(t.Context(), "key/a", first, []byte(strconv.Itoa(i)))
	})
	for i, r := range results {
		if i == 1 {
			require.NoError(t, r.Err)
			continue
		}
		require.ErrorIs(t, r.Err, keystore.ErrConflict)
	}
	item, err := s.Get(t.Context(), "key/a")
	require.NoError(t, err)
	require.Equal(t, keystore.Item{Name: "key/a", Value: []byte("1"), Version: results[1].Version}, item)
	names, _, err := s.Changes(t.Context(), "key/", before)
	require.NoError(t, err)
	require.Equal(t, []string{"key/a"}, names)
}

// TestGroupManyWriters: 64 writers count one item up and make items of their own, and
// nothing is lost.
func TestGroupManyWriters(t *testing.T) {
	t.Parallel()
	const writers, rounds = 64, 4
	s := openNew(t)
	_, err := s.Put(t.Context(), "count", "", []byte("0"))
	require.NoError(t, err)
	errs := make([]error, writers)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range rounds {
				_, err := s.Put(t.Context(), fmt.Sprintf("own/%02d/%d", w, i), "", []byte{byte(w), byte(i)})
				errs[w] = errors.Join(errs[w], err)
			}
			errs[w] = errors.Join(errs[w], countUp(t.Context(), s))
		})
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
	item, err := s.Get(t.Context(), "count")
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(writers), string(item.Value))
	found := 0
	for item, err := range s.List(t.Context(), "own/", "") {
		require.NoError(t, err)
		require.Equal(t, item.Name, fmt.Sprintf("own/%02d/%d", item.Value[0], item.Value[1]))
		found++
	}
	require.Equal(t, writers*rounds, found)
}

func countUp(ctx context.Context, s *boltstore.Store) error {
	for {
		item, err := s.Get(ctx, "count")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(item.Value))
		if err != nil {
			return err
		}
		_, err = s.Put(ctx, "count", item.Version, []byte(strconv.Itoa(n+1)))
		if !errors.Is(err, keystore.ErrConflict) {
			return err
		}
	}
}

// TestCancelledInQueue: a writer whose context ends while it waits is not written, and
// the others are.
func TestCancelledInQueue(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	ctx, cancel := context.WithCancel(t.Context())
	release := s.HoldTurn()
	var gone, stays error
	var first, second sync.WaitGroup
	first.Go(func() { _, gone = s.Put(ctx, "key/gone", "", nil) })
	untilQueued(s, 1)
	second.Go(func() { _, stays = s.Put(t.Context(), "key/stays", "", nil) })
	untilQueued(s, 2)
	cancel()
	first.Wait() // though nobody commits
	require.ErrorIs(t, gone, context.Canceled)
	require.Equal(t, 1, s.Queued())
	release()
	second.Wait()
	require.NoError(t, stays)
	_, err := s.Get(t.Context(), "key/gone")
	require.ErrorIs(t, err, keystore.ErrNotFound)
	_, err = s.Get(t.Context(), "key/stays")
	require.NoError(t, err)
}

// TestCloseWithQueue: writers that still wait when the store is closed are told so.
func TestCloseWithQueue(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	release := s.HoldTurn()
	errs := make([]error, 8)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { _, errs[i] = s.Put(t.Context(), fmt.Sprintf("key/%d", i), "", nil) })
	}
	untilQueued(s, len(errs))
	var closing sync.WaitGroup
	var closed error
	closing.Go(func() { closed = s.Close() })
	for !errors.Is(func() error { _, err := s.Get(t.Context(), "x"); return err }(), keystore.ErrClosed) {
		runtime.Gosched()
	}
	release()
	all.Wait()
	closing.Wait()
	require.NoError(t, closed)
	for _, err := range errs { // the turn is anybody's: what was written was written whole
		if err != nil {
			require.ErrorIs(t, err, keystore.ErrClosed)
		}
	}
}

// TestListIsNoTransaction: the body of a loop may wait for a Put that makes the file grow.
func TestListIsNoTransaction(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	for i := range 3 {
		_, err := s.Put(t.Context(), fmt.Sprintf("a/%d", i), "", nil)
		require.NoError(t, err)
	}
	seen := 0
	for _, err := range s.List(t.Context(), "a/", "") {
		require.NoError(t, err)
		_, err = s.Put(t.Context(), fmt.Sprintf("b/%d", seen), "", make([]byte, keystore.MaxValue))
		require.NoError(t, err)
		seen++
	}
	require.Equal(t, 3, seen)
}
