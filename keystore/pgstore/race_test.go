package pgstore_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/pgstore"
	"github.com/keyhold/kms/software"
)

// meeting is a Store whose first Put of every key waits until the other side's is there, too.
type meeting struct {
	keystore.Store
	places *sync.Map // by name: a channel on which the two meet
	mu     sync.Mutex
	met    map[string]bool
}

func (m *meeting) Unwrap() keystore.Store { return m.Store }

func (m *meeting) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	m.mu.Lock()
	first := strings.HasPrefix(name, "key/") && !m.met[name]
	m.met[name] = true
	m.mu.Unlock()
	if first {
		place, _ := m.places.LoadOrStore(name, make(chan struct{}))
		select {
		case place.(chan struct{}) <- struct{}{}:
		case <-place.(chan struct{}):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return m.Store.Put(ctx, name, old, value)
}

// TestOneWinner: a key whose deletion is cancelled at the last moment by one, at
// the instant at which another destroys it, is either had back whole or gone. Both have
// read the same record, and write at the same time.
func TestOneWinner(t *testing.T) {
	t.Parallel()
	const tables, keys = 20, 50
	cancelled, purged := 0, 0
	for range tables {
		c, p := cancelAgainstPurge(t, keys)
		cancelled += c
		purged += p
	}
	t.Logf("%d pairs: %d cancelled, %d purged", tables*keys, cancelled, purged)
	require.NotZero(t, cancelled)
	require.NotZero(t, purged)
}

func cancelAgainstPurge(t *testing.T, keys int) (cancelled, purged int) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	root, err := software.NewRoot(rootKey)
	require.NoError(t, err)
	opts, places := newTable(), &sync.Map{}
	manager := func(now time.Time, meets bool) (m *kms.Manager, closeStore func() error) {
		own, err := pgstore.Open(ctx, dsn(t, "pool_max_conns=8"), opts)
		require.NoError(t, err)
		var s keystore.Store = own
		if meets {
			s = &meeting{Store: s, places: places, met: map[string]bool{}}
		}
		m, err = kms.Open(ctx, kms.Config{Store: s, Root: root, Software: software.New(), PurgeDelay: -1,
			Now: func() time.Time { return now }})
		require.NoError(t, err)
		return m, own.Close
	}
	due := linearNow.Add(7 * 24 * time.Hour)
	first, closeFirst := manager(linearNow, false)
	canceller, closeCanceller := manager(due.Add(-1), true)
	purger, closePurger := manager(due, true)
	ids, ciphertexts := make([]string, keys), make([][]byte, keys)
	require.NoError(t, each(keys, func(i int) error {
		key, err := first.CreateKey(ctx, nil)
		if err != nil {
			return err
		}
		ids[i] = key.ID
		if ciphertexts[i], err = first.Encrypt(ctx, key.ID, []byte("text"), nil); err != nil {
			return err
		}
		if _, err := first.DisableKey(ctx, key.ID); err != nil {
			return err
		}
		_, err = first.ScheduleKeyDeletion(ctx, key.ID, 7)
		return err
	}))

	var report kms.Report
	gone := make([]bool, keys)
	require.NoError(t, each(keys+1, func(i int) (err error) {
		if i == keys {
			report, err = purger.Maintain(ctx)
		} else if _, err = canceller.CancelKeyDeletion(ctx, ids[i]); errors.Is(err, kms.ErrNotFound) {
			gone[i], err = true, nil
		}
		if err != nil {
			cancel() // nobody waits for one who will not come
		}
		return err
	}))
	for i, id := range ids {
		require.Equal(t, gone[i], slices.Contains(report.Purged, id), "key %s has not exactly one winner", id)
		_, err = first.EnableKey(ctx, id)
		if gone[i] {
			purged++
			require.ErrorIs(t, err, kms.ErrNotFound)
			continue
		}
		cancelled++
		require.NoError(t, err)
		text, err := first.Decrypt(ctx, ciphertexts[i], nil)
		require.NoError(t, err)
		require.Equal(t, "text", string(text))
	}
	require.NoError(t, errors.Join(closeFirst(), closeCanceller(), closePurger()))
	return cancelled, purged
}

// each calls f with 0 to n-1 at once.
func each(n int, f func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}
