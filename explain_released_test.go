package kms_test

import (
	"io"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestExplainReleased: of an instance that was released, and of its keys, Explain says what the calls
// say, and so it does of a receipt.
func TestExplainReleased(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, kit.InHardware)
	require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme", Protection: kms.ProtectionHSM})))
	id := kit.KeyIn(t, k, "acme")
	release := &kms.ReleaseOptions{Force: true}
	require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "acme", release)))
	for op, err := range map[kms.Op]error{
		kms.OpRenewInstance:                 kit.Err(k.RenewInstance(ctx, "acme", time.Time{})),
		kms.OpSetInstanceDeletionProtection: kit.Err(k.SetInstanceDeletionProtection(ctx, "acme", true, "")),
		kms.OpReleaseInstance:               kit.Err(k.ReleaseInstance(ctx, "acme", release)),
		kms.OpBackupInstance:                kit.Err(k.BackupInstance(ctx, "acme", io.Discard, k.Root, nil)),
		kms.OpShred:                         kit.Err(k.Shred(ctx, "acme")),
		kms.OpCreateKey:                     kit.Err(k.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "acme"})),
	} {
		require.Error(t, err, op)
		x, explained := k.Explain(ctx, op, "acme")
		require.NoError(t, explained, op)
		agree(t, x, err)
	}
	x, err := k.Explain(ctx, kms.OpDeletionReceipt, id)
	require.NoError(t, err)
	agree(t, x, kit.Err(k.DeletionReceipt(ctx, id)))
}
