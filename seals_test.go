package kms_test

import (
	"bytes"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestSealsThatDoNotOpen: a key whose record is authentic and holds what does not open is
// ErrTampered to all who need that, and to them alone.
func TestSealsThatDoNotOpen(t *testing.T) {
	ctx := t.Context()
	old := oldKeyring(t, "invoices", 1)
	k := kmstest.New(t, withSources(old.source))
	require.NoError(t, only(k.MigrateLegacyKey(ctx, old.id, "")))
	fresh, err := k.Encrypt(ctx, old.id, nil, nil)
	require.NoError(t, err)
	imported, wrapped, token := importedKeyIn(t, k, kms.DefaultInstance, ownMaterial)
	backup := backupOf(t, k.Manager, kms.DefaultInstance, k.Root)
	require.NoError(t, only(kms.VerifyBackup(ctx, bytes.NewReader(backup), k.Root)))
	for _, id := range []string{old.id, imported} {
		require.NoError(t, kms.BreakSeals(ctx, k.Manager, id))
	}
	before := everything(t, k)
	for name, err := range map[string]error{
		"Decrypt":           only(k.Decrypt(ctx, fresh, nil)),
		"Decrypt old":       only(k.Decrypt(ctx, old.ciphertexts[0], old.ec)),
		"Encrypt":           only(k.Encrypt(ctx, imported, nil, nil)),
		"ImportKeyMaterial": only(k.ImportKeyMaterial(ctx, imported, wrapped, token, k.Clock.Now().AddDate(0, 0, 1))),
	} {
		require.Equal(t, []string{"ErrTampered"}, conditionsOf(err), "%s: %v", name, err)
	}
	require.Equal(t, before, everything(t, k))
	require.NoError(t, only(k.DescribeKey(ctx, old.id)))
	unsound := backupOf(t, k.Manager, kms.DefaultInstance, k.Root)
	require.ErrorIs(t, only(kms.VerifyBackup(ctx, bytes.NewReader(unsound), k.Root)), kms.ErrBackup)
}

// TestPurgeOfWhatDoesNotOpen: a key whose material does not open, and so cannot be given to the
// provider to be destroyed, is not told as purged, and keeps no other from it.
func TestPurgeOfWhatDoesNotOpen(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	broken, sound := disabledKey(t, k), disabledKey(t, k)
	require.NoError(t, kms.BreakSeals(ctx, k.Manager, broken))
	for _, id := range []string{broken, sound} {
		require.NoError(t, only(k.ScheduleKeyDeletion(ctx, id, 7)))
	}
	k.Clock.AdvanceDays(7)
	for pass, purged := range [][]string{{sound}, nil, nil} {
		report, err := k.Maintain(ctx)
		require.Equal(t, []string{"ErrTampered"}, conditionsOf(err), "pass %d", pass)
		require.Equal(t, []string{broken}, report.Waiting)
		require.Equal(t, purged, report.Purged)
		require.Equal(t, kms.Deleted, stateOf(t, k.Manager, broken))
	}
}

// TestShredOfWhatDoesNotOpen: what Shred cannot seal anew, since it does not open, it tells of, and
// goes on with the rest to the end: that opens under the new key.
func TestShredOfWhatDoesNotOpen(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	sound := tenant(t, k, "acme", 0)
	c, err := k.Encrypt(ctx, sound, []byte("x"), nil)
	require.NoError(t, err)
	broken := keyIn(t, k, "acme")
	imported, _, _ := importedKeyIn(t, k, "acme", ownMaterial)
	for _, id := range []string{broken, imported} {
		require.NoError(t, kms.BreakSeals(ctx, k.Manager, id))
	}
	_, err = k.Shred(ctx, "acme")
	require.Equal(t, []string{"ErrTampered"}, conditionsOf(err))
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
