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

// TestCancelAgainstPurge: a key whose deletion is cancelled at the last moment by one, at
// the instant at which another destroys it, is either had back whole or gone. Both have
// read the same record, and write at the same time.
func TestCancelAgainstPurge(t *testing.T) {
	t.Parallel()
	const tables, keys = 20, 50
	cancelled, purged := 0, 0
	for range tables {
		opts := newTable()
		places := &sync.Map{}
		root, err := software.NewRoot(rootKey)
		require.NoError(t, err)
		manager := func(now time.Time, meets bool) *kms.Manager {
			var s keystore.Store = open(t, dsn(t, "pool_max_conns=8"), opts)
			if meets {
				s = &meeting{Store: s, places: places, met: map[string]bool{}}
			}
			m, err := kms.Open(t.Context(), kms.Config{Store: s, Root: root, Software: software.New(), PurgeDelay: -1,
				Now: func() time.Time { return now }})
			require.NoError(t, err)
			return m
		}
		due := linearNow.Add(7 * 24 * time.Hour)
		first, canceller, purger := manager(linearNow, false), manager(due.Add(-1), true), manager(due, true)
		ids, ciphertexts, errs := make([]string, keys), make([][]byte, keys), make([]error, keys)
		each := func(f func(i int) error) {
			var all sync.WaitGroup
			for i := range ids {
				all.Go(func() { errs[i] = f(i) })
			}
			all.Wait()
			require.NoError(t, errors.Join(errs...))
		}
		each(func(i int) error {
			key, err := first.CreateKey(t.Context(), nil)
			if err != nil {
				return err
			}
			ids[i] = key.ID
			if ciphertexts[i], err = first.Encrypt(t.Context(), key.ID, []byte("text"), nil); err != nil {
				return err
			}
			if _, err := first.DisableKey(t.Context(), key.ID); err != nil {
				return err
			}
			_, err = first.ScheduleKeyDeletion(t.Context(), key.ID, 7)
			return err
		})
		var all sync.WaitGroup
		for i, id := range ids {
			all.Go(func() { _, errs[i] = canceller.CancelKeyDeletion(t.Context(), id) })
		}
		report, err := purger.Maintain(t.Context())
		all.Wait()
		require.NoError(t, err)
		for i, id := range ids {
			if slices.Contains(report.Purged, id) {
				purged++
				require.ErrorIs(t, errs[i], kms.ErrNotFound)
				_, err = first.EnableKey(t.Context(), id)
				require.ErrorIs(t, err, kms.ErrNotFound)
				continue
			}
			cancelled++
			require.NoError(t, errs[i])
			_, err = first.EnableKey(t.Context(), id)
			require.NoError(t, err)
			text, err := first.Decrypt(t.Context(), ciphertexts[i], nil)
			require.NoError(t, err)
			require.Equal(t, "text", string(text))
		}
	}
	t.Logf("%d pairs: %d cancelled, %d purged", tables*keys, cancelled, purged)
	require.NotZero(t, cancelled)
	require.NotZero(t, purged)
}
