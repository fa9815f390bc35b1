package kms_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// receiptOf is a receipt, and that Explain and a second Manager agree with it.
func receiptOf(t *testing.T, k *kmstest.KMS, id string, root kms.Root) kms.DeletionReceipt {
	t.Helper()
	stored := kit.StoredItems(t, k)
	d, err := k.DeletionReceipt(t.Context(), id)
	require.NoError(t, err)
	again, err := k.Another(t, func(c *kms.Config) { c.Root = root }).DeletionReceipt(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, d, again)
	require.Equal(t, stored, kit.StoredItems(t, k), "it wrote")
	x, err := k.Explain(t.Context(), kms.OpDeletionReceipt, id)
	require.NoError(t, err)
	require.True(t, x.Allowed)
	require.Equal(t, id, d.KeyID)
	require.Equal(t, k.Clock.Now(), d.At)
	last := kms.NotDeleted
	for _, l := range d.Reached {
		require.Equal(t, last+1, l.Level, "a level is left out")
		last = l.Level
	}
	require.Equal(t, d.Level, last)
	require.Equal(t, d.Level == kms.DeletionLevel4, d.Missing == "")
	require.Equal(t, d.Missing == "", d.Do == "")
	return d
}

// TestDeletionReceipt goes through the life and the deletion of a key: each level with its time,
// what is missing for the next, and level 4 with its condition.
func TestDeletionReceipt(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		for _, instance := range shreddable {
			t.Run(instance, func(t *testing.T) {
				ctx := t.Context()
				k := kit.New(t, func(c *kms.Config) { c.PurgeDelay = 24 * time.Hour })
				if instance != kms.DefaultInstance {
					require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: instance})))
				}
				id, root := kit.KeyIn(t, k, instance), k.Root
				is := func(level kms.DeletionLevel, missing string) kms.DeletionReceipt {
					t.Helper()
					d := receiptOf(t, k, id, root)
					require.Equal(t, level, d.Level)
					require.Equal(t, instance, d.Instance)
					require.Contains(t, d.Missing, missing)
					return d
				}
				is(kms.NotDeleted, "Enabled")
				require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
				is(kms.NotDeleted, "Disabled")
				require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
				is(kms.DeletionLevel0, "2026-01-08")
				k.Clock.AdvanceDays(7)
				due := k.Clock.Now()
				require.Equal(t, due, is(kms.DeletionLevel1, "not purged").Reached[1].Since)
				kit.Maintain(t, k)
				is(kms.DeletionLevel1, "not purged")
				k.Clock.AdvanceDays(1)
				purged := k.Clock.Now()
				require.Equal(t, []string{id}, kit.Maintain(t, k).Purged)
				d := is(kms.DeletionLevel3, "the instance key under which")
				require.Equal(t, []time.Time{{}, due, purged, purged}, []time.Time{d.Reached[0].Since, d.Reached[1].Since, d.Reached[2].Since, d.Reached[3].Since})

				// Rotated too early: the present root has sealed the old instance key.
				root = kit.Root(t, 2)
				require.NoError(t, k.RotateRoot(ctx, root))
				require.Contains(t, is(kms.DeletionLevel3, "the instance key under which").Do, "Shred")
				dieAt(k, 2, false)
				require.Error(t, kit.Err(k.Shred(ctx, instance)))
				k.Store.OnPut(nil)
				is(kms.DeletionLevel3, "not finished")
				root = kit.Root(t, 3)
				require.NoError(t, k.RotateRoot(ctx, root), "in the midst of it: it has sealed both")
				is(kms.DeletionLevel3, "not finished")
				k.Clock.AdvanceDays(1)
				require.NoError(t, kit.Err(k.Shred(ctx, instance)))
				require.Contains(t, is(kms.DeletionLevel3, "the present root opens").Do, "RotateRoot")
				require.NoError(t, k.RotateRoot(ctx, root), "with the same root")
				is(kms.DeletionLevel3, "the present root opens")
				k.Clock.AdvanceDays(1)
				rotated := k.Clock.Now()
				root = kit.Root(t, 4)
				require.NoError(t, k.RotateRoot(ctx, root))
				d = is(kms.DeletionLevel4, "")
				require.Equal(t, rotated, d.Reached[4].Since)
				require.Contains(t, d.Reached[4].If, "if every root that was in use before RotateRoot at "+rotated.Format(time.RFC3339)+" was destroyed")
				in, err := k.DescribeInstance(ctx, instance)
				require.NoError(t, err)
				require.False(t, in.KeyedAt.Before(purged))
				require.Equal(t, rotated, in.RootedAt)
				require.Contains(t, d.Reached[4].If, "every backup from before "+in.KeyedAt.Format(time.RFC3339))

				// A key that is deleted later is not helped by what came before.
				late := kit.KeyIn(t, k, instance)
				require.NoError(t, kit.Err(k.DisableKey(ctx, late)))
				require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, late, 7)))
				k.Clock.AdvanceDays(7)
				kit.Maintain(t, k)
				k.Clock.AdvanceDays(1)
				kit.Maintain(t, k)
				require.Equal(t, kms.DeletionLevel3, receiptOf(t, k, late, root).Level)
				require.Equal(t, kms.DeletionLevel4, receiptOf(t, k, id, root).Level)
				if instance == kms.DefaultInstance {
					return
				}
				// What a backup brings back may have the first instance key again.
				backup := kit.Backup(t, k.Manager, instance, root)
				require.NoError(t, kit.Err(k.ReleaseInstance(ctx, instance, nil)))
				require.ErrorIs(t, kit.Err(k.DeletionReceipt(ctx, id)), kms.ErrNotFound)
				x, err := k.Explain(ctx, kms.OpDeletionReceipt, id)
				require.NoError(t, err)
				require.False(t, x.Allowed)
				kit.Restore(t, k.Manager, backup, root, nil)
				require.Equal(t, kms.DeletionLevel3, receiptOf(t, k, id, root).Level)
				root = kit.Root(t, 5)
				require.NoError(t, k.RotateRoot(ctx, root))
				require.Equal(t, kms.DeletionLevel3, receiptOf(t, k, id, root).Level)
			})
		}
	})
}

// TestDeletionReceiptHardware: what the hardware destroyed is on no old media.
func TestDeletionReceiptHardware(t *testing.T) {
	k := kmstest.New(t, kit.InHardware)
	id := kit.HardwareKey(t, k)
	kit.Purge(t, k, id)
	d := receiptOf(t, k, id, k.Root)
	require.Equal(t, kms.DeletionLevel4, d.Level)
	require.Contains(t, d.Reached[4].If, "hardware")
}

// TestDeletionReceiptOlder: a tombstone of an earlier version has no note of when the last went.
func TestDeletionReceiptOlder(t *testing.T) {
	f := loadFrozen(t)
	m, _ := f.open(t)
	gone := 0
	for id, state := range f.Keys {
		d, err := m.DeletionReceipt(t.Context(), id)
		require.NoError(t, err)
		if state == kms.Deleted.String() {
			gone++
			require.GreaterOrEqual(t, d.Level, kms.DeletionLevel1)
		} else {
			require.LessOrEqual(t, d.Level, kms.DeletionLevel0)
		}
	}
	require.Positive(t, gone)
}

// TestDeletionLevels: the words of the receipts are those of the threat model.
func TestDeletionLevels(t *testing.T) {
	model, err := os.ReadFile("docs/threat-model.md")
	require.NoError(t, err)
	require.Equal(t, "none", kms.NotDeleted.String())
	require.Equal(t, "none", kms.DeletionLevel(99).String())
	require.Equal(t, "level 0", kms.DeletionLevel0.String())
	require.Equal(t, "level 4", kms.DeletionLevel4.String())
	for level, who := range kms.WhoCannot() {
		row := "| " + strings.TrimPrefix(level.String(), "level ") + " | "
		found := false
		for line := range strings.Lines(string(model)) {
			found = found || strings.HasPrefix(line, row) && strings.Contains(line, "| "+who+" |")
		}
		require.True(t, found, "%s: %q", level, who)
	}
}
