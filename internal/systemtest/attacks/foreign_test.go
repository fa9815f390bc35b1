package attacks_test

import (
	"bytes"
	"iter"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestForeignItemsAreCounted: what somebody else has put where keys, aliases, counts and instances are stands
// in no backup, and is counted in it; and who lists may stop at it.
func TestForeignItemsAreCounted(t *testing.T) {
	ctx := t.Context()
	k, id := kit.CountedIn(t, "acme")
	whole := backupInfo(t, k)
	require.Zero(t, whole.Tampered)
	for tampered, name := range []string{"alias/foreign", "key/foreign", "allowance/" + id} {
		if name == "allowance/"+id {
			kit.EditItem(t, k, name, func([]byte) []byte { return []byte("foreign") })
		} else {
			require.NoError(t, kit.Err(k.Store.Put(ctx, name, "", []byte("foreign"))))
		}
		info := backupInfo(t, k)
		require.Equal(t, tampered+1, info.Tampered, name)
		info.Tampered = 0
		require.Equal(t, whole, info, name)
	}
	require.NoError(t, kit.Err(k.Store.Put(ctx, "instance/foreign", "", []byte("foreign"))))
	require.NoError(t, kit.Err(k.Store.Put(ctx, "key/00000000-0000-7000-8000-000000000000", "", []byte("foreign"))))

	for name, all := range map[string]iter.Seq[error]{
		"Keys": errorsOf(k.Keys(ctx, nil)), "Tombstones": errorsOf(k.Tombstones(ctx)),
		"Aliases": errorsOf(k.Aliases(ctx, "")), "Instances": errorsOf(k.Instances(ctx)),
	} {
		var stopped error
		for err := range all {
			if stopped = err; err != nil {
				break
			}
		}
		require.ErrorIs(t, stopped, kms.ErrTampered, name)
		good := 0
		for err := range all {
			if err == nil {
				good++
			}
		}
		require.Equal(t, map[string]int{"Keys": 1, "Aliases": 1, "Instances": 2}[name], good, name)
	}
}

// errorsOf are the errors of a list, also the nil ones.
func errorsOf[T any](list iter.Seq2[T, error]) iter.Seq[error] {
	return func(yield func(error) bool) {
		for _, err := range list {
			if !yield(err) {
				return
			}
		}
	}
}

func backupInfo(t *testing.T, k *kmstest.KMS) kms.BackupInfo {
	t.Helper()
	var b bytes.Buffer
	info, err := k.BackupInstance(t.Context(), "acme", &b, k.Root, nil)
	require.NoError(t, err)
	verified, err := kms.VerifyBackup(t.Context(), &b, k.Root)
	require.NoError(t, err)
	require.Equal(t, info, verified)
	return info
}
