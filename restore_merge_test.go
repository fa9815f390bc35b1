package kms_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestRestoreTombstones: what is dead stays dead, whoever knows of it: this store, the backup,
// or the list; and what was brought dead keeps an older backup from bringing it alive.
func TestRestoreTombstones(t *testing.T) {
	ctx := t.Context()
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	a := kit.Tenant(t, k, "acme", 0)
	b := kit.KeyIn(t, k, "acme")
	alive := kit.Backup(t, k.Manager, "acme", recipient)
	older := kit.CopyStore(t, k.Store)
	require.NoError(t, kit.Err(k.DisableKey(ctx, a)))
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, a, 7)))
	pending := kit.Backup(t, k.Manager, "acme", recipient)
	k.Clock.AdvanceDays(7)
	graves := kit.Tombstones(t, k.Manager)
	require.NoError(t, kit.Err(k.Maintain(ctx)))
	dead := kit.Backup(t, k.Manager, "acme", recipient)
	skipped := []kms.SkippedItem{{KeyID: a, Why: kms.SkippedDeleted}}

	t.Run("this store", func(t *testing.T) {
		report := kit.Restore(t, k.Manager, alive, recipient, nil)
		require.Equal(t, skipped, report.Skipped)
		require.Equal(t, 1, report.Unchanged)
		require.Zero(t, report.UnknownSince)
	})
	t.Run("the backup", func(t *testing.T) {
		to := kit.NewService(t, k)
		report := kit.Restore(t, to.Manager, dead, recipient, nil)
		require.Equal(t, 1, report.Tombstones)
		require.Empty(t, report.Skipped)
		require.Equal(t, skipped, kit.Restore(t, to.Manager, alive, recipient, nil).Skipped)
		require.Equal(t, kms.Deleted, kit.StateOf(t, to.Manager, a))
	})
	t.Run("the backup, over an older copy of the store", func(t *testing.T) {
		m := k.Another(t, func(c *kms.Config) { c.Store = older })
		require.Equal(t, kms.Enabled, kit.StateOf(t, m, a))
		require.Equal(t, []string{a}, kit.Restore(t, m, dead, recipient, nil).Merged)
		require.Equal(t, kms.Deleted, kit.StateOf(t, m, a))
		require.Equal(t, skipped, kit.Restore(t, m, alive, recipient, nil).Skipped)
	})
	t.Run("the list", func(t *testing.T) {
		to := kit.NewService(t, k)
		report := kit.Restore(t, to.Manager, alive, recipient, &kms.RestoreOptions{Tombstones: graves})
		require.Equal(t, skipped, report.Skipped)
		require.Zero(t, report.UnknownSince)
		require.Equal(t, skipped, kit.Restore(t, to.Manager, alive, recipient, nil).Skipped, "it is known now")
		require.Len(t, kit.Tombstones(t, to.Manager), 1)
	})
	t.Run("the list, and a key that lives here", func(t *testing.T) {
		to := kit.NewService(t, k)
		kit.Restore(t, to.Manager, alive, recipient, nil)
		report := kit.Restore(t, to.Manager, alive, recipient, &kms.RestoreOptions{Tombstones: graves})
		require.Equal(t, skipped, report.Skipped)
		require.Equal(t, kms.Enabled, kit.StateOf(t, to.Manager, a), "a list ends no key")
	})
	t.Run("an empty list", func(t *testing.T) {
		report := kit.Restore(t, kit.NewService(t, k).Manager, alive, recipient, &kms.RestoreOptions{Tombstones: []kms.Tombstone{}})
		require.Zero(t, report.UnknownSince)
		require.Equal(t, 2, report.Restored)
	})
	t.Run("a date that passed", func(t *testing.T) {
		to := kit.NewService(t, k)
		require.Equal(t, skipped, kit.Restore(t, to.Manager, pending, recipient, nil).Skipped)
		require.Equal(t, kms.Deleted, kit.StateOf(t, to.Manager, a))
		require.Equal(t, skipped, kit.Restore(t, to.Manager, alive, recipient, nil).Skipped)
		report, err := to.Maintain(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{a}, report.Purged)
		require.Equal(t, skipped, kit.Restore(t, to.Manager, pending, recipient, nil).Skipped)
		require.Equal(t, kms.Enabled, kit.StateOf(t, to.Manager, b))
	})
	t.Run("a clock that is wrong", func(t *testing.T) {
		to := kit.NewService(t, k, func(c *kms.Config) { c.PurgeDelay = 24 * time.Hour })
		kit.Restore(t, to.Manager, pending, recipient, nil)
		require.NoError(t, kit.Err(to.Maintain(ctx)))
		k.Clock.AdvanceDays(-7)
		defer k.Clock.AdvanceDays(7)
		require.NoError(t, kit.Err(to.CancelKeyDeletion(ctx, a)), "nothing was destroyed")
	})
}

// TestRestoreCancelled: a deletion that was cancelled here after the backup is scheduled again
// while its date is ahead. A date that is past takes no key that was changed here since: it is
// Disabled, and nothing is lost.
func TestRestoreCancelled(t *testing.T) {
	ctx := t.Context()
	for days, want := range map[int]kms.State{6: kms.PendingDeletion, 7: kms.Disabled, 30: kms.Disabled} {
		k, recipient := kmstest.New(t), kit.Root(t, 7)
		id := kit.Tenant(t, k, "acme", 0)
		require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
		key, err := k.ScheduleKeyDeletion(ctx, id, 7)
		require.NoError(t, err)
		backup := kit.Backup(t, k.Manager, "acme", recipient)
		require.NoError(t, kit.Err(k.CancelKeyDeletion(ctx, id)))
		require.NoError(t, kit.Err(k.EnableKey(ctx, id)))
		k.Clock.AdvanceDays(days)
		require.Equal(t, []string{id}, kit.Restore(t, k.Manager, backup, recipient, nil).Merged)
		after, err := k.DescribeKey(ctx, id)
		require.NoError(t, err)
		require.Equal(t, want, after.State)
		if want == kms.PendingDeletion {
			require.Equal(t, key.DeletionDate, after.DeletionDate)
		}
		require.Equal(t, 1, kit.Restore(t, k.Manager, backup, recipient, nil).Unchanged)
	}
}

// TestRestoreMaterial: material that is here is never taken by a backup, and material that was
// deleted here never comes with one; its earlier expiry does.
func TestRestoreMaterial(t *testing.T) {
	ctx := t.Context()
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	kit.Tenant(t, k, "acme", 0)
	id := kit.ExternalKeyIn(t, k, "acme")
	without := kit.Backup(t, k.Manager, "acme", recipient)
	wrapped, token := kit.WrapMaterial(t, k, id, kit.Material())
	until := k.Clock.Now().AddDate(0, 0, 10)
	require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, until)))
	c, err := k.Encrypt(ctx, id, []byte("x"), nil)
	require.NoError(t, err)
	with := kit.Backup(t, k.Manager, "acme", recipient)

	require.Equal(t, []string{id}, kit.Restore(t, k.Manager, without, recipient, nil).Merged)
	require.Equal(t, kms.Disabled, kit.StateOf(t, k.Manager, id))
	require.NoError(t, kit.Err(k.EnableKey(ctx, id)))
	require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})))
	require.Equal(t, []string{id}, kit.Restore(t, k.Manager, with, recipient, nil).Merged)
	key, err := k.DescribeKey(ctx, id)
	require.NoError(t, err)
	require.Equal(t, until, key.MaterialExpiresAt)

	require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})))
	k.Clock.AdvanceDays(10)
	require.Equal(t, []string{id}, kit.Restore(t, k.Manager, with, recipient, nil).Merged)
	require.Equal(t, kms.Disabled, kit.StateOf(t, k.Manager, id), "the expiry of the backup is past, and a later import was made")
	require.NoError(t, kit.Err(k.EnableKey(ctx, id)))
	require.NoError(t, kit.Err(k.Decrypt(ctx, c, nil)))

	require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, id, nil)))
	wrapped, token = kit.WrapMaterial(t, k, id, kit.Material())
	require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})))
	report := kit.Restore(t, k.Manager, with, recipient, nil)
	require.Empty(t, report.Skipped, "the same material, imported anew")
	require.NoError(t, kit.Err(k.EnableKey(ctx, id)))
	require.NoError(t, kit.Err(k.Decrypt(ctx, c, nil)))

	require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, id, nil)))
	kit.Restore(t, k.Manager, with, recipient, nil)
	require.Equal(t, kms.PendingImport, kit.StateOf(t, k.Manager, id))

	// A store that has never seen the import learns what the key is bound to, and no more.
	to := kit.NewService(t, k)
	kit.Restore(t, to.Manager, without, recipient, nil)
	kit.Restore(t, to.Manager, with, recipient, nil)
	require.Equal(t, kms.PendingImport, kit.StateOf(t, to.Manager, id))
	wrapped, token = kit.WrapMaterial(t, to, id, kit.Pattern(32))
	require.ErrorIs(t, kit.Err(to.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})), kms.ErrMaterial)
	wrapped, token = kit.WrapMaterial(t, to, id, kit.Material())
	require.NoError(t, kit.Err(to.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})))
	require.NoError(t, kit.Err(to.Decrypt(ctx, c, nil)))
}

// TestRestoreForks: two key stores went on from one backup. What each added is united while
// it does not contradict; a key that contradicts stays as it is here.
func TestRestoreForks(t *testing.T) {
	ctx := t.Context()
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	one := kit.Tenant(t, k, "acme", 0)
	both := kit.KeyIn(t, k, "acme")
	to := kit.NewService(t, k)
	kit.Restore(t, to.Manager, kit.Backup(t, k.Manager, "acme", recipient), recipient, nil)
	k.Clock.AdvanceDays(1)
	for _, id := range []string{one, both} {
		require.NoError(t, kit.Err(k.RotateKey(ctx, id)))
	}
	require.NoError(t, kit.Err(to.RotateKey(ctx, both)))
	require.NoError(t, kit.Err(k.SetBrownout(ctx, one, 0.5, k.Clock.Now().AddDate(0, 0, 5))))
	require.NoError(t, kit.Err(k.SetTags(ctx, one, map[string]string{"at": "home"})))
	require.NoError(t, kit.Err(to.SetTags(ctx, one, map[string]string{"at": "work"})))
	c, err := k.Encrypt(ctx, both, nil, nil)
	require.NoError(t, err)
	own, err := to.Encrypt(ctx, both, nil, nil)
	require.NoError(t, err)

	report := kit.Restore(t, to.Manager, kit.Backup(t, k.Manager, "acme", recipient), recipient, nil)
	require.Equal(t, []string{one}, report.Merged)
	require.Equal(t, []kms.SkippedItem{{KeyID: both, Why: kms.SkippedOther}}, report.Skipped)
	key, err := to.DescribeKey(ctx, one)
	require.NoError(t, err)
	require.Equal(t, 2, key.PrimaryVersion)
	require.Equal(t, 0.5, key.Brownout.Share)
	require.Equal(t, map[string]string{"at": "work"}, key.Tags)
	require.ErrorIs(t, kit.Err(to.Decrypt(ctx, c, nil)), kms.ErrCiphertext)
	require.NoError(t, kit.Err(to.Decrypt(ctx, own, nil)))
}

// TestRestoreKeepsThePrimary: of a key that was changed here later than in the backup, the version that
// encrypts stays the one that it is. What the backup has besides opens what it encrypted.
func TestRestoreKeepsThePrimary(t *testing.T) {
	ctx := t.Context()
	for changes, primary := range map[int]int{0: 3, 5: 1} {
		k, recipient := kmstest.New(t), kit.Root(t, 7)
		id := kit.Tenant(t, k, "acme", 0)
		to := kit.NewService(t, k)
		kit.Restore(t, to.Manager, kit.Backup(t, k.Manager, "acme", recipient), recipient, nil)
		for range 2 {
			require.NoError(t, kit.Err(k.RotateKey(ctx, id)))
		}
		c, err := k.Encrypt(ctx, id, []byte("x"), nil)
		require.NoError(t, err)
		for i := range changes {
			require.NoError(t, kit.Err(to.SetDescription(ctx, id, strings.Repeat("d", i+1))))
		}
		backup := kit.Backup(t, k.Manager, "acme", recipient)
		require.Equal(t, []string{id}, kit.Restore(t, to.Manager, backup, recipient, nil).Merged)
		require.Equal(t, 1, kit.Restore(t, to.Manager, backup, recipient, nil).Unchanged)
		require.NoError(t, kit.Err(to.Decrypt(ctx, c, nil)))
		key, err := to.DescribeKey(ctx, id)
		require.NoError(t, err)
		require.Equal(t, primary, key.PrimaryVersion)
		key, err = to.RotateKey(ctx, id)
		require.NoError(t, err)
		require.Equal(t, 4, key.PrimaryVersion)
		require.NoError(t, kit.Err(kms.VerifyBackup(ctx, bytes.NewReader(kit.Backup(t, to.Manager, "acme", recipient)), recipient)))
	}
}

// TestRestoreCounts: a hardware key encrypts no oftener because it was restored.
func TestRestoreCounts(t *testing.T) {
	const most = 20
	ctx := t.Context()
	k, recipient := kmstest.New(t, kit.InHardware), kit.Root(t, 7)
	limited := func(m *kms.Manager) *kms.Manager { kms.LimitUses(m, most, 4); return m }
	uses := func(m *kms.Manager, id string) (n int) {
		for ; n <= most; n++ {
			if err := kit.Err(m.Encrypt(ctx, id, nil, nil)); err != nil {
				require.ErrorIs(t, err, kms.ErrLimit)
				break
			}
		}
		return n
	}
	m := limited(k.Another(t))
	require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme", Protection: kms.ProtectionHSM})))
	id, other := kit.KeyIn(t, k, "acme"), kit.HardwareKey(t, k)
	for range 10 { // blocks of 4 and 8
		require.NoError(t, kit.Err(m.Encrypt(ctx, id, nil, nil)))
		require.NoError(t, kit.Err(m.Encrypt(ctx, other, nil, nil)))
	}
	backup := kit.Backup(t, m, "acme", recipient)
	to := kit.NewService(t, k, kit.InHardware)
	kit.Restore(t, to.Manager, backup, recipient, nil)
	require.Equal(t, most-12, uses(limited(to.Another(t)), id))
	kit.Restore(t, to.Manager, backup, recipient, nil)
	require.Zero(t, uses(limited(to.Another(t)), id), "what was used since stays used")
	require.Equal(t, most-10, uses(m, id))
	items, err := kms.BackupItems(backup, recipient)
	require.NoError(t, err)
	require.Len(t, items, 4, "the instance, one count, the key, the closing")
}

// TestRestoreToken: the keys of a backup are found in a token, and are missing where they were
// destroyed in it.
func TestRestoreToken(t *testing.T) {
	ctx := t.Context()
	_, token := kit.OpenToken(t)
	k, recipient := kmstest.New(t, kit.InToken(token)), kit.Root(t, 7)
	require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme"})))
	id := kit.KeyIn(t, k, "acme")
	c, err := k.Encrypt(ctx, id, []byte("hello"), nil)
	require.NoError(t, err)
	backup := kit.Backup(t, k.Manager, "acme", recipient)

	to := kit.NewService(t, k, kit.InToken(token))
	report := kit.Restore(t, to.Manager, backup, recipient, nil)
	require.Equal(t, 1, report.Restored)
	require.Empty(t, report.Missing)
	plain, err := to.Decrypt(ctx, c, nil)
	require.NoError(t, err)
	require.Equal(t, "hello", string(plain))

	require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "acme", kit.Force()))) // and so destroyed in the token
	late := kit.NewService(t, k, kit.InToken(token))
	require.Equal(t, []string{id}, kit.Restore(t, late.Manager, backup, recipient, nil).Missing)
	require.Error(t, kit.Err(late.Decrypt(ctx, c, nil)))
}
