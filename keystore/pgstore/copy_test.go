package pgstore_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
)

// TestCopyThereAndBack: the keys of a file go to a table and back to a file, with a copy that
// is stopped in between, and open what they made wherever they are.
func TestCopyThereAndBack(t *testing.T) {
	t.Parallel()
	file := func() *boltstore.Store {
		s, err := boltstore.Open(filepath.Join(t.TempDir(), "keys.db"), &boltstore.Options{Create: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	first, table, last := file(), open(t, dsn(t), newTable()), file()
	m := manager(t, first, 0)
	const keys = 200
	ciphertexts := make([][]byte, keys)
	require.NoError(t, each(keys, func(i int) error {
		key, err := m.CreateKey(t.Context(), nil)
		if err == nil {
			ciphertexts[i], err = m.Encrypt(t.Context(), key.ID, []byte{byte(i)}, nil)
		}
		if err == nil && i%3 == 0 {
			_, err = m.DisableKey(t.Context(), key.ID)
		}
		return err
	}))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := keystore.Copy(ctx, table, first, &keystore.CopyOptions{Progress: func(p keystore.CopyProgress) {
		if p.Written == keys/2 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	for _, leg := range [][2]keystore.Store{{table, first}, {last, table}} {
		done, err := keystore.Copy(t.Context(), leg[0], leg[1], nil)
		require.NoError(t, err)
		require.Equal(t, done.Verified, done.Written+done.Present)
		require.Equal(t, leg[0] == keystore.Store(table), done.Present > 0)
		m := manager(t, leg[0], 0)
		for i, c := range ciphertexts {
			text, err := m.Decrypt(t.Context(), c, nil)
			if i%3 == 0 {
				require.ErrorIs(t, err, kms.ErrDisabled)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, []byte{byte(i)}, text)
		}
	}
}
