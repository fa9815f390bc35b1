package attacks_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestRollbackUnknown: where what is read is older than what was known, and it cannot be asked
// whether the store lost writes, nobody is accused: it is ErrUnavailable, nothing is written, and the
// answer comes when it can be asked.
func TestRollbackUnknown(t *testing.T) {
	ctx := t.Context()
	store := new(kit.Shared)
	k := kmstest.New(t, func(c *kms.Config) { c.Store, c.MaxStaleness = store, time.Hour })
	id := k.MustCreateKey(t).ID
	tenanted := kit.Tenant(t, k, "acme", 10)
	require.NoError(t, k.CreateAlias(ctx, "alias/a", id))
	sound := k.MustCreateKey(t).ID
	backup := kit.Backup(t, k.Manager, kms.DefaultInstance, k.Root)
	old := kit.StoredItems(t, k)
	require.NoError(t, kit.Err(k.SetDescription(ctx, id, "d")))
	require.NoError(t, kit.Err(k.SetDescription(ctx, tenanted, "d")))
	require.NoError(t, k.UpdateAlias(ctx, "alias/a", tenanted))
	require.NoError(t, kit.Err(k.RenewInstance(ctx, "acme", time.Time{})))
	for _, item := range old {
		kit.PutItem(t, k, item.Name, item.Value)
	}
	before := kit.StoredItems(t, k)
	for _, silent := range []bool{true, false} {
		store.Down.Store(silent)
		for name, err := range map[string]error{
			"a key":       kit.Err(k.SetDescription(ctx, id, "e")),
			"an alias":    k.UpdateAlias(ctx, "alias/a", sound),
			"an instance": kit.Err(k.DescribeInstance(ctx, "acme")),
		} {
			if silent {
				require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err), "%s: %v", name, err)
				require.ErrorContains(t, err, "connection refused", name)
			} else {
				require.Equal(t, []string{"ErrTampered"}, kit.Conditions(err), "%s: %v", name, err)
			}
		}
		report, err := k.Restore(ctx, bytes.NewReader(backup), k.Root, nil)
		if silent {
			require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err))
			require.ErrorContains(t, err, "connection refused")
		} else {
			require.NoError(t, err)
			require.Equal(t, []kms.SkippedItem{{KeyID: id, Why: kms.SkippedTampered}, {KeyID: id, Alias: "alias/a", Why: kms.SkippedTampered}}, report.Skipped)
		}
		require.Equal(t, before, kit.StoredItems(t, k))
	}
}

// TestOpenOnSilentStore: a store that cannot be asked what others did is not begun with.
func TestOpenOnSilentStore(t *testing.T) {
	store := new(kit.Shared)
	k := kmstest.New(t, func(c *kms.Config) { c.Store, c.MaxStaleness = store, time.Hour })
	store.Down.Store(true)
	_, err := kms.Open(t.Context(), k.ConfigWith())
	require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err))
	require.ErrorContains(t, err, "connection refused")
}
