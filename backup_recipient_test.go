package kms_test

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// A wordy root seals to as much as is asked for, and opens to as much.
type wordy struct {
	kms.Root
	seal, key int
}

func (r wordy) Encrypt(plain, ad []byte) ([]byte, error) {
	sealed, err := r.Root.Encrypt(plain, ad)
	return append(sealed, make([]byte, r.seal-len(sealed))...), err
}

func (r wordy) Decrypt(sealed, ad []byte) ([]byte, error) {
	plain, err := r.Root.Decrypt(bytes.TrimRight(sealed, "\x00"), ad)
	return append(plain, make([]byte, r.key)...), err
}

// TestBackupRecipients: what a recipient seals fits into a header, or there is no backup; and what it
// opens is a backup key, or it is none.
func TestBackupRecipients(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	kit.Tenant(t, k, "acme", 0)
	before := kit.StoredItems(t, k)
	var w bytes.Buffer
	err := kit.Err(k.BackupInstance(ctx, "acme", &w, wordy{Root: kit.Root(t, 7), seal: 16<<10 + 1}, nil))
	require.Equal(t, []string{"ErrRoot"}, kit.Conditions(err))
	require.Zero(t, w.Len())
	require.Equal(t, before, kit.StoredItems(t, k))

	most := wordy{Root: kit.Root(t, 7), seal: 16 << 10}
	backup := kit.Backup(t, k.Manager, "acme", most)
	require.NoError(t, kit.Err(kms.VerifyBackup(ctx, bytes.NewReader(backup), most)))
	before = kit.StoredItems(t, k)
	most.key = 1
	require.ErrorIs(t, kit.Err(kms.VerifyBackup(ctx, bytes.NewReader(backup), most)), kms.ErrBackup)
	require.ErrorIs(t, kit.Err(k.Restore(ctx, bytes.NewReader(backup), most, nil)), kms.ErrBackup)
	require.Equal(t, before, kit.StoredItems(t, k))
}

// TestClockBeyondDates: where the clock is beyond the dates that can be written, what would have to
// write one is refused, and nothing is written.
func TestClockBeyondDates(t *testing.T) {
	k := kmstest.New(t)
	kit.Tenant(t, k, "acme", 0)
	key := kit.DisabledKey(t, k)
	k.Clock.Set(time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC))
	require.ErrorIs(t, kit.Err(k.Encrypt(t.Context(), key, nil, nil)), kms.ErrDisabled)
	before := kit.StoredItems(t, k)
	for name, call := range map[string]func(context.Context) error{
		"BackupInstance": func(ctx context.Context) error {
			return kit.Err(k.BackupInstance(ctx, "acme", io.Discard, k.Root, nil))
		},
		"Maintain":       func(ctx context.Context) error { return kit.Err(k.Maintain(ctx)) },
		"Close":          func(ctx context.Context) error { return k.Close(ctx) }, // when the key was refused
		"CreateKey":      func(ctx context.Context) error { return kit.Err(k.CreateKey(ctx, nil)) },
		"CreateInstance": func(ctx context.Context) error { return kit.Err(k.CreateInstance(ctx, nil)) },
	} {
		require.Equal(t, []string{"ErrInvalid"}, kit.Conditions(call(t.Context())), name)
	}
	require.Equal(t, before, kit.StoredItems(t, k))
}
