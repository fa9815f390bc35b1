package logstore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/examples/ownstore/logstore"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/keystoretest"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// open opens the file at path, and makes it first where there is none.
func open(t *testing.T, path string) *logstore.Store {
	t.Helper()
	s, err := logstore.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		s, err = logstore.Create(path)
	}
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// TestContract is the proof that every driver owes.
func TestContract(t *testing.T) {
	paths := map[keystore.Store]string{}
	keystoretest.Run(t, keystoretest.Driver{
		Open: func(t *testing.T) keystore.Store {
			path := filepath.Join(t.TempDir(), "keys.log")
			s := open(t, path)
			paths[s] = path
			return s
		},
		Reopen: func(t *testing.T, s keystore.Store) keystore.Store {
			require.NoError(t, s.(*logstore.Store).Close())
			again := open(t, paths[s])
			paths[again] = paths[s]
			return again
		},
	})
}

// TestWithKeys: a key store in it outlives its process.
func TestWithKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.log")
	s := open(t, path)
	k := kmstest.New(t, func(c *kms.Config) { c.Store = s })
	c, err := k.Encrypt(t.Context(), k.MustCreateKey(t).ID, []byte("hello"), nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())

	again := k.Another(t, func(c *kms.Config) { c.Store = open(t, path) })
	plain, err := again.Decrypt(t.Context(), c, nil)
	require.NoError(t, err)
	require.Equal(t, "hello", string(plain))
}

// written is a file with three items.
func written(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.log")
	s := open(t, path)
	for i := range 3 {
		_, err := s.Put(t.Context(), fmt.Sprintf("key/%d", i), "", []byte("value"))
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

func names(t *testing.T, s keystore.Store) (names []string) {
	t.Helper()
	for item, err := range s.List(t.Context(), "", "") {
		require.NoError(t, err)
		require.Equal(t, "value", string(item.Value))
		names = append(names, item.Name)
	}
	return names
}

// TestCutOff: wherever a crash cut the file off, what was complete is there, and the store
// goes on.
func TestCutOff(t *testing.T) {
	whole := written(t)
	path := filepath.Join(t.TempDir(), "keys.log")
	most := 0
	for size := range len(whole) + 1 {
		require.NoError(t, os.WriteFile(path, whole[:size], 0o600))
		s := open(t, path)
		had := names(t, s)
		require.Equal(t, []string{"key/0", "key/1", "key/2"}[:len(had)], append([]string{}, had...))
		require.GreaterOrEqual(t, len(had), most)
		most = len(had)
		_, err := s.Put(t.Context(), "key/9", "", []byte("value"))
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.Equal(t, append(had, "key/9"), names(t, open(t, path)))
	}
	require.Equal(t, 3, most)
}

// TestDamaged: whichever bit is another, the file is refused and left alone.
func TestDamaged(t *testing.T) {
	whole := written(t)
	path := filepath.Join(t.TempDir(), "keys.log")
	for bit := range 8 * len(whole) {
		b := append([]byte{}, whole...)
		b[bit/8] ^= 1 << (bit % 8)
		require.NoError(t, os.WriteFile(path, b, 0o600))
		_, err := logstore.Open(path)
		require.ErrorIs(t, err, logstore.ErrDamaged, "bit %d", bit)
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, b, after)
	}
}

// TestShared: of two that write, the second is stopped before it does harm.
func TestShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.log")
	one, two := open(t, path), open(t, path)
	_, err := one.Put(t.Context(), "key/a", "", nil)
	require.NoError(t, err)
	_, err = two.Put(t.Context(), "key/a", "", nil)
	require.ErrorIs(t, err, logstore.ErrShared)
	_, err = two.Put(t.Context(), "key/b", "", nil)
	require.ErrorIs(t, err, logstore.ErrShared, "and stays stopped")
}
