package attacks_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// backedUp backs the instance up and reads the backup again.
func backedUp(t *testing.T, m *kms.Manager) []byte {
	t.Helper()
	backup := kit.Backup(t, m, "acme", kit.Root(t, 7))
	_, err := kms.VerifyBackup(t.Context(), bytes.NewReader(backup), kit.Root(t, 7))
	require.NoError(t, err, "a backup that cannot be restored")
	return backup
}

// TestRestoreMakesWhatCanBeMade: what a Restore makes of a key that is here and of one in a backup is a
// key that can be used, and backed up again.
func TestRestoreMakesWhatCanBeMade(t *testing.T) {
	ctx, recipient := t.Context(), kit.Root(t, 7)
	t.Run("a retirement does not reach the primary version", func(t *testing.T) {
		a := kmstest.New(t)
		id := kit.Tenant(t, a, "acme", 0)
		b := kit.NewService(t, a)
		kit.Restore(t, b.Manager, backedUp(t, a.Manager), recipient, nil)
		for i := range 4 {
			require.NoError(t, kit.Err(b.SetDescription(ctx, id, fmt.Sprint(i))))
		}
		text, err := b.Encrypt(ctx, id, []byte("x"), nil)
		require.NoError(t, err)
		require.NoError(t, kit.Err(a.RotateKey(ctx, id)))
		require.NoError(t, kit.Err(a.RetireKeyVersions(ctx, id, kms.RetireOptions{Before: 2, Days: 7})))
		kit.Restore(t, b.Manager, backedUp(t, a.Manager), recipient, nil)
		backedUp(t, b.Manager)
		for range 3 {
			b.Clock.AdvanceDays(8)
			require.NoError(t, kit.Err(b.Maintain(ctx)))
		}
		require.NoError(t, kit.Err(b.Decrypt(ctx, text, nil)))
		require.NoError(t, kit.Err(b.Encrypt(ctx, id, nil, nil)))
	})
	t.Run("dependents", func(t *testing.T) {
		k := kmstest.New(t)
		id := kit.Tenant(t, k, "acme", 0)
		name := func(i int) kms.Dependent { return kms.Dependent{Name: fmt.Sprint("table ", i)} }
		for i := range kms.MaxDependents {
			require.NoError(t, kit.Err(k.AddDependent(ctx, id, name(i))))
		}
		backup := backedUp(t, k.Manager)
		for i := range kms.MaxDependents {
			require.NoError(t, kit.Err(k.RemoveDependent(ctx, id, name(i))))
		}
		require.NoError(t, kit.Err(k.AddDependent(ctx, id, name(kms.MaxDependents))))
		kit.Restore(t, k.Manager, backup, recipient, nil)
		backedUp(t, k.Manager)
	})
	t.Run("an expiry gets no later", func(t *testing.T) {
		k := kmstest.New(t)
		kit.Tenant(t, k, "acme", 30)
		early := backedUp(t, k.Manager)
		require.NoError(t, kit.Err(k.RenewInstance(ctx, "acme", time.Time{})))
		late := backedUp(t, k.Manager)
		require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "acme", nil)))
		kit.Restore(t, k.Manager, early, recipient, nil)
		k.Clock.AdvanceDays(60)
		require.NoError(t, kit.Err(k.Maintain(ctx)))
		require.ErrorIs(t, kit.Err(k.Restore(ctx, bytes.NewReader(late), recipient, nil)), kms.ErrInvalid)
	})
	t.Run("a plan that is followed in its order", func(t *testing.T) {
		k := kmstest.New(t)
		kit.Tenant(t, k, "acme", 0)
		require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "acme", kms.InstanceProtection{On: true})))
		plan, err := k.PlanRelease(ctx, "acme")
		require.NoError(t, err)
		require.Len(t, plan.Steps, 3)
		for _, step := range plan.Steps {
			switch {
			case step.Done:
			case bytes.Contains([]byte(step.Do), []byte("protection")):
				require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "acme", kms.InstanceProtection{})))
			case bytes.Contains([]byte(step.Do), []byte("Back")):
				backedUp(t, k.Manager)
			}
		}
		require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "acme", nil)))
	})
}
