package pgstore_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore/pgstore"
	"github.com/keyhold/kms/software"
)

// TestEveryNodeMaintains: all that time does is done once, however many nodes maintain at the
// same time: keys are purged, imported material expires, and keys are rotated.
func TestEveryNodeMaintains(t *testing.T) {
	t.Parallel()
	const nodes, keys = 6, 20
	opts := newTable()
	root, err := software.NewRoot(rootKey)
	require.NoError(t, err)
	now, mu := linearNow, sync.Mutex{}
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	managers := make([]*kms.Manager, nodes)
	for i := range managers {
		s, err := pgstore.Open(t.Context(), dsn(t, "pool_max_conns=4"), opts)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		managers[i], err = kms.Open(t.Context(), kms.Config{Store: s, Root: root, Software: software.New(), PurgeDelay: -1, Now: clock})
		require.NoError(t, err)
	}
	m := managers[0]
	due := map[string][]string{}
	for range keys {
		key, err := m.CreateKey(t.Context(), nil)
		require.NoError(t, err)
		_, err = m.DisableKey(t.Context(), key.ID)
		require.NoError(t, err)
		_, err = m.ScheduleKeyDeletion(t.Context(), key.ID, 7)
		require.NoError(t, err)
		due["purged"] = append(due["purged"], key.ID)

		key, err = m.CreateKey(t.Context(), nil)
		require.NoError(t, err)
		_, err = m.UpdateRotationPolicy(t.Context(), key.ID, 7)
		require.NoError(t, err)
		due["rotated"] = append(due["rotated"], key.ID)
	}
	for range 2 {
		key, err := m.CreateKey(t.Context(), &kms.CreateKeyOptions{Origin: kms.OriginExternal})
		require.NoError(t, err)
		params, err := m.GetParametersForImport(t.Context(), key.ID, nil)
		require.NoError(t, err)
		wrapped, err := kms.WrapForImport(params, []byte("0123456789abcdef0123456789ABCDEF"))
		require.NoError(t, err)
		_, err = m.ImportKeyMaterial(t.Context(), key.ID, wrapped, params.Token, now.AddDate(0, 0, 7))
		require.NoError(t, err)
		due["expired"] = append(due["expired"], key.ID)
	}

	mu.Lock()
	now = now.AddDate(0, 0, 7)
	mu.Unlock()
	reports := make([]kms.Report, nodes)
	require.NoError(t, each(nodes, func(i int) (err error) {
		reports[i], err = managers[i].Maintain(t.Context())
		return err
	}))
	done, busy := map[string][]string{}, 0
	for _, r := range reports {
		done["purged"] = append(done["purged"], r.Purged...)
		done["rotated"] = append(done["rotated"], r.Rotated...)
		done["expired"] = append(done["expired"], r.Expired...)
		if len(r.Purged)+len(r.Rotated)+len(r.Expired) > 0 {
			busy++
		}
	}
	t.Logf("%d of %d nodes did something", busy, nodes)
	for what, ids := range due {
		require.ElementsMatch(t, ids, done[what], what)
	}
	for _, id := range due["rotated"] {
		key, err := m.DescribeKey(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, 2, key.PrimaryVersion)
	}
	again, err := m.Maintain(t.Context())
	require.NoError(t, err)
	require.Empty(t, append(append(again.Purged, again.Rotated...), again.Expired...))
}
