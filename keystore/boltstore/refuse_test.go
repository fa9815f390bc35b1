package boltstore_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
)

// impatient does not wait for a file that is in use. It is for files that are: the lock of a file that was
// closed is still held by a process that another test just starts, until that is another program.
var impatient = &boltstore.Options{LockTimeout: -1}

// TestModes: the file is made for its owner alone, and refused when it is not.
func TestModes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("modes are made up here")
	}
	path := newPath(t)
	s, err := boltstore.Open(path, &boltstore.Options{Create: true})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())

	for bit := fs.FileMode(1); bit <= 0o40; bit <<= 1 {
		require.NoError(t, os.Chmod(path, 0o600|bit))
		_, err = boltstore.Open(path, &boltstore.Options{Create: true})
		require.ErrorIs(t, err, boltstore.ErrPermissions, "mode %s", 0o600|bit)
	}
	require.NoError(t, os.Chmod(path, 0o600))
	s, err = boltstore.Open(path, &boltstore.Options{Create: true})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// TestRefused: what Open takes for a store of its own, and what not. What it refuses it
// leaves as it was.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want error
	}{
		"empty":   {file(nil), boltstore.ErrDamaged},
		"short":   {file([]byte("keys")), boltstore.ErrDamaged},
		"garbage": {file(bytes.Repeat([]byte("garbage "), 8192)), boltstore.ErrDamaged},
		"zeros":   {file(make([]byte, 1<<16)), boltstore.ErrDamaged},
		"a folder": {func(t *testing.T, path string) {
			require.NoError(t, os.Mkdir(path, 0o700))
		}, boltstore.ErrNotFile},
		"a symbolic link": {func(t *testing.T, path string) {
			other := newPath(t)
			s, err := boltstore.Open(other, &boltstore.Options{Create: true})
			require.NoError(t, err)
			require.NoError(t, s.Close())
			require.NoError(t, os.Symlink(other, path))
		}, boltstore.ErrNotFile},
		"a symbolic link to nothing": {func(t *testing.T, path string) {
			require.NoError(t, os.Symlink(newPath(t), path))
		}, boltstore.ErrNotFile},
		"another program's":   {bolt("accounts", "", ""), boltstore.ErrForeign},
		"another format":      {bolt("keyhold", "format", "keystore 2"), boltstore.ErrForeign},
		"no format":           {bolt("keyhold", "", ""), boltstore.ErrForeign},
		"without its items":   {bolt("keyhold", "format", "keystore 1"), boltstore.ErrDamaged},
		"in a missing folder": {func(t *testing.T, path string) { require.NoError(t, os.Remove(filepath.Dir(path))) }, fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			c.make(t, path)
			before, _ := os.ReadFile(path)
			s, err := boltstore.Open(path, &boltstore.Options{Create: true})
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, path)
			require.Nil(t, s)
			after, _ := os.ReadFile(path)
			require.True(t, bytes.Equal(before, after))
		})
	}
}

func file(content []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, content, 0o600)) }
}

// bolt makes a file of bbolt with one bucket and one entry.
func bolt(bucket, key, value string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		db, err := bbolt.Open(path, 0o600, nil)
		require.NoError(t, err)
		require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket([]byte(bucket))
			if err != nil || key == "" {
				return err
			}
			return b.Put([]byte(key), []byte(value))
		}))
		require.NoError(t, db.Close())
	}
}

// TestCreationCutShort: a file that bbolt has made, and nobody has used, is taken.
func TestCreationCutShort(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db, err := bbolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	s, err := boltstore.Open(path, &boltstore.Options{Create: true})
	require.NoError(t, err)
	_, err = s.Put(t.Context(), "key/a", "", nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// TestInUseHere: a file is opened once, in one process too, and a second Open waits no
// longer than it was told.
func TestInUseHere(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s, err := boltstore.Open(path, &boltstore.Options{Create: true})
	require.NoError(t, err)
	for _, opts := range []*boltstore.Options{impatient, {LockTimeout: 60 * time.Millisecond}, {}, nil} {
		_, err = boltstore.Open(path, opts)
		require.ErrorIs(t, err, boltstore.ErrInUse)
	}
	require.NoError(t, s.Close())
	s, err = boltstore.Open(path, &boltstore.Options{Create: true})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "closing again does nothing")
	_, err = s.Get(t.Context(), "key/a")
	require.ErrorIs(t, err, keystore.ErrClosed)
}
