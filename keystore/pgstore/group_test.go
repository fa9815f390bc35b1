package pgstore_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/internal/storetest"
	"github.com/keyhold/kms/keystore/pgstore"
)

// group makes n Puts wait for each other in a lane, in their order, and returns what each
// was told.
func group(s *pgstore.Store, lane string, n int, put func(i int) (keystore.Version, error)) []storetest.Result {
	queued, release := s.HoldLane(lane)
	return storetest.Group(n, queued, release, put)
}

// TestGroupResults: those that share a statement share one commit, and each gets its own
// result.
func TestGroupResults(t *testing.T) {
	t.Parallel()
	conn, opts := connect(t, dsn(t)), newTable()
	s := open(t, dsn(t), opts)
	commits := func(names string) (n int) {
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(DISTINCT xmin::text) FROM `+
			pgx.Identifier{opts.Table}.Sanitize()+` WHERE name LIKE $1`, names).Scan(&n))
		return n
	}
	there, err := s.Put(t.Context(), "key/03", "", nil)
	require.NoError(t, err)
	created := group(s, "+", 64, func(i int) (keystore.Version, error) {
		return s.Put(t.Context(), fmt.Sprintf("key/%02d", i), "", []byte(strconv.Itoa(i)))
	})
	for i, r := range created {
		if i == 3 {
			require.ErrorIs(t, r.Err, keystore.ErrConflict)
			continue
		}
		require.NoError(t, r.Err)
	}
	require.Equal(t, 2, commits("key/%"), "the first, and the others together")

	created[3].Version = there
	stale := func(i int) bool { return i%5 == 0 }
	replaced := group(s, "key/", 64, func(i int) (keystore.Version, error) {
		old := created[i].Version
		if stale(i) {
			old += "0"
		}
		return s.Put(t.Context(), fmt.Sprintf("key/%02d", i), old, []byte("next"))
	})
	for i, r := range replaced {
		item, err := s.Get(t.Context(), fmt.Sprintf("key/%02d", i))
		require.NoError(t, err)
		if stale(i) {
			require.ErrorIs(t, r.Err, keystore.ErrConflict)
			require.Equal(t, created[i].Version, item.Version)
			continue
		}
		require.NoError(t, r.Err)
		require.Equal(t, keystore.Item{Name: item.Name, Value: []byte("next"), Version: r.Version}, item)
	}
	require.LessOrEqual(t, commits("key/%"), 3)
}

// TestGroupOneName: of those in one queue that put the same name, the first that is at the
// version wins.
func TestGroupOneName(t *testing.T) {
	t.Parallel()
	s := open(t, dsn(t), newTable())
	first, err := s.Put(t.Context(), "key/a", "", []byte("0"))
	require.NoError(t, err)
	results := group(s, "key/", 16, func(i int) (keystore.Version, error) {
		old := first
		if i%2 == 0 {
			old = "stale"
		}
		return s.Put(t.Context(), "key/a", old, []byte(strconv.Itoa(i)))
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
}

// TestGroupOfLargeValues: a group has a bound in bytes, and all is written all the same.
func TestGroupOfLargeValues(t *testing.T) {
	t.Parallel()
	s := open(t, dsn(t), newTable())
	results := group(s, "+", 12, func(i int) (keystore.Version, error) {
		return s.Put(t.Context(), fmt.Sprintf("key/%02d", i), "", make([]byte, keystore.MaxValue))
	})
	listed := 0
	for item, err := range s.List(t.Context(), "key/", "") {
		require.NoError(t, err)
		require.Equal(t, results[listed].Version, item.Version)
		require.Len(t, item.Value, keystore.MaxValue)
		listed++
	}
	require.Equal(t, 12, listed)
}

// TestCancelledInQueue: a writer whose context ends while it waits is not written, and
// the others are.
func TestCancelledInQueue(t *testing.T) {
	t.Parallel()
	s := open(t, dsn(t), newTable())
	ctx, cancel := context.WithCancel(t.Context())
	queued, release := s.HoldLane("+")
	var gone, stays error
	var first, second sync.WaitGroup
	first.Go(func() { _, gone = s.Put(ctx, "key/gone", "", nil) })
	storetest.Until(func() bool { return queued() == 1 })
	second.Go(func() { _, stays = s.Put(t.Context(), "key/stays", "", nil) })
	storetest.Until(func() bool { return queued() == 2 })
	cancel()
	first.Wait() // though nothing is written
	require.ErrorIs(t, gone, context.Canceled)
	require.Equal(t, 1, queued())
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
	s := open(t, dsn(t), newTable())
	queued, release := s.HoldLane("+")
	errs := make([]error, 8)
	var all, closing sync.WaitGroup
	for i := range errs {
		all.Go(func() { _, errs[i] = s.Put(t.Context(), fmt.Sprintf("key/%d", i), "", nil) })
	}
	storetest.Until(func() bool { return queued() == len(errs) })
	closing.Go(func() { _ = s.Close() })
	storetest.Until(func() bool { _, err := s.Get(t.Context(), "key/x"); return err == keystore.ErrClosed })
	release()
	all.Wait()
	closing.Wait()
	for _, err := range errs {
		require.ErrorIs(t, err, keystore.ErrClosed)
	}
}
