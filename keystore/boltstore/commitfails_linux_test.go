package boltstore_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
)

// TestCommitFails: if a commit cannot be written, every member of the group gets its error,
// nothing of it is there, and when the disk can be written again writing goes on.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s, err := boltstore.Open(path, &boltstore.Options{Create: true})
	require.NoError(t, err)
	version, err := s.Put(t.Context(), "key/a", "", []byte("1"))
	require.NoError(t, err)

	// The descriptor that bbolt has can only be read for a while.
	fd := int(s.Underlying().Fd())
	kept, err := syscall.Dup(fd)
	require.NoError(t, err)
	readOnly, err := os.Open(path)
	require.NoError(t, err)
	require.NoError(t, syscall.Dup3(int(readOnly.Fd()), fd, syscall.O_CLOEXEC))
	results := group(s, 8, func(i int) (keystore.Version, error) {
		if i == 0 {
			return s.Put(t.Context(), "key/a", version, []byte("2"))
		}
		return s.Put(t.Context(), fmt.Sprintf("key/%d", i), "", nil)
	})
	require.NoError(t, syscall.Dup3(kept, fd, syscall.O_CLOEXEC))
	require.NoError(t, syscall.Close(kept))
	require.NoError(t, readOnly.Close())
	for _, r := range results {
		require.ErrorIs(t, r.Err, syscall.EBADF)
		require.NotErrorIs(t, r.Err, boltstore.ErrUnsure)
		require.Empty(t, r.Version)
	}

	item, err := s.Get(t.Context(), "key/a")
	require.NoError(t, err)
	require.Equal(t, keystore.Item{Name: "key/a", Value: []byte("1"), Version: version}, item)
	for i := range 8 {
		_, err = s.Put(t.Context(), fmt.Sprintf("key/%d", i), "", make([]byte, 5000))
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	s, err = boltstore.Open(path, &boltstore.Options{Create: true})
	require.NoError(t, err)
	item, err = s.Get(t.Context(), "key/7")
	require.NoError(t, err)
	require.Len(t, item.Value, 5000)
	require.NoError(t, s.Close())
}
