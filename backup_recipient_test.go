package kms_test

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/keyhold/kms"
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
	tenant(t, k, "acme", 0)
	before := everything(t, k)
	var w bytes.Buffer
	err := only(k.BackupInstance(ctx, "acme", &w, wordy{Root: newRoot(t, 7), seal: 16<<10 + 1}, nil))
	require.Equal(t, []string{"ErrRoot"}, conditionsOf(err))
	require.Zero(t, w.Len())
	require.Equal(t, before, everything(t, k))

	most := wordy{Root: newRoot(t, 7), seal: 16 << 10}
	backup := backupOf(t, k.Manager, "acme", most)
	require.NoError(t, only(kms.VerifyBackup(ctx, bytes.NewReader(backup), most)))
	before = everything(t, k)
	most.key = 1
	require.ErrorIs(t, only(kms.VerifyBackup(ctx, bytes.NewReader(backup), most)), kms.ErrBackup)
	require.ErrorIs(t, only(k.Restore(ctx, bytes.NewReader(backup), most, nil)), kms.ErrBackup)
	require.Equal(t, before, everything(t, k))
}

// TestClockBeyondDates: where the clock is beyond the dates that can be written, what would have to
// write one is refused, and nothing is written.
func TestClockBeyondDates(t *testing.T) {
	k := kmstest.New(t)
	tenant(t, k, "acme", 0)
	key := disabledKey(t, k)
	k.Clock.Set(time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC))
	require.ErrorIs(t, only(k.Encrypt(t.Context(), key, nil, nil)), kms.ErrDisabled)
	before := everything(t, k)
	for name, call := range map[string]func(context.Context) error{
		"BackupInstance": func(ctx context.Context) error {
			return only(k.BackupInstance(ctx, "acme", io.Discard, k.Root, nil))
		},
		"Maintain":       func(ctx context.Context) error { return only(k.Maintain(ctx)) },
		"Close":          func(ctx context.Context) error { return k.Close(ctx) }, // when the key was refused
		"CreateKey":      func(ctx context.Context) error { return only(k.CreateKey(ctx, nil)) },
		"CreateInstance": func(ctx context.Context) error { return only(k.CreateInstance(ctx, nil)) },
	} {
		require.Equal(t, []string{"ErrInvalid"}, conditionsOf(call(t.Context())), name)
	}
	require.Equal(t, before, everything(t, k))
}
