package kms_test

import (
	"bytes"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestSealsThatDoNotOpen: a key whose record is authentic and holds what does not open is
// ErrTampered to all who need that, and to them alone.
func TestSealsThatDoNotOpen(t *testing.T) {
	ctx := t.Context()
	old := kit.OldKeyring(t, "invoices", 1)
	k := kmstest.New(t, kit.WithSources(old.Source))
	require.NoError(t, kit.Err(k.MigrateLegacyKey(ctx, old.ID, "")))
	fresh, err := k.Encrypt(ctx, old.ID, nil, nil)
	require.NoError(t, err)
	imported, wrapped, token := kit.ImportedKeyIn(t, k, kms.DefaultInstance, kit.Material())
	backup := kit.Backup(t, k.Manager, kms.DefaultInstance, k.Root)
	require.NoError(t, kit.Err(kms.VerifyBackup(ctx, bytes.NewReader(backup), k.Root)))
	for _, id := range []string{old.ID, imported} {
		require.NoError(t, kms.BreakSeals(ctx, k.Manager, id))
	}
	before := kit.StoredItems(t, k)
	for name, err := range map[string]error{
		"Decrypt":           kit.Err(k.Decrypt(ctx, fresh, nil)),
		"Decrypt old":       kit.Err(k.Decrypt(ctx, old.Ciphertexts[0], old.EC)),
		"Encrypt":           kit.Err(k.Encrypt(ctx, imported, nil, nil)),
		"ImportKeyMaterial": kit.Err(k.ImportKeyMaterial(ctx, imported, wrapped, token, k.Clock.Now().AddDate(0, 0, 1))),
	} {
		require.Equal(t, []string{"ErrTampered"}, kit.Conditions(err), "%s: %v", name, err)
	}
	require.Equal(t, before, kit.StoredItems(t, k))
	require.NoError(t, kit.Err(k.DescribeKey(ctx, old.ID)))
	unsound := kit.Backup(t, k.Manager, kms.DefaultInstance, k.Root)
	require.ErrorIs(t, kit.Err(kms.VerifyBackup(ctx, bytes.NewReader(unsound), k.Root)), kms.ErrBackup)
}

// TestPurgeOfWhatDoesNotOpen: a key whose material does not open, and so cannot be given to the
// provider to be destroyed, is not told as purged, and keeps no other from it.
func TestPurgeOfWhatDoesNotOpen(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	broken, sound := kit.DisabledKey(t, k), kit.DisabledKey(t, k)
	require.NoError(t, kms.BreakSeals(ctx, k.Manager, broken))
	for _, id := range []string{broken, sound} {
		require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
	}
	k.Clock.AdvanceDays(7)
	for pass, purged := range [][]string{{sound}, nil, nil} {
		report, err := k.Maintain(ctx)
		require.Equal(t, []string{"ErrTampered"}, kit.Conditions(err), "pass %d", pass)
		require.Equal(t, []string{broken}, report.Waiting)
		require.Equal(t, purged, report.Purged)
		require.Equal(t, kms.Deleted, kit.StateOf(t, k.Manager, broken))
	}
}

// TestShredOfWhatDoesNotOpen: what Shred cannot seal anew, since it does not open, it tells of, and
// goes on with the rest to the end: that opens under the new key.
func TestShredOfWhatDoesNotOpen(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	sound := kit.Tenant(t, k, "acme", 0)
	c, err := k.Encrypt(ctx, sound, []byte("x"), nil)
	require.NoError(t, err)
	broken := kit.KeyIn(t, k, "acme")
	imported, _, _ := kit.ImportedKeyIn(t, k, "acme", kit.Material())
	for _, id := range []string{broken, imported} {
		require.NoError(t, kms.BreakSeals(ctx, k.Manager, id))
	}
	_, err = k.Shred(ctx, "acme")
	require.Equal(t, []string{"ErrTampered"}, kit.Conditions(err))
	require.ErrorContains(t, err, broken)
	require.ErrorContains(t, err, imported)
	require.NotContains(t, err.Error(), sound)
	for _, m := range []*kms.Manager{k.Manager, k.Another(t)} {
		plain, err := m.Decrypt(ctx, c, nil)
		require.NoError(t, err)
		require.Equal(t, "x", string(plain))
		in, err := m.DescribeInstance(ctx, "acme")
		require.NoError(t, err)
		require.False(t, in.Shredding)
	}
}
