package boltstore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/keystore/keystoretest"
)

func TestConformance(t *testing.T) {
	paths := map[keystore.Store]string{}
	open := func(t *testing.T, path string) keystore.Store {
		s, err := boltstore.Open(path, nil)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		paths[s] = path
		return s
	}
	keystoretest.Run(t, keystoretest.Driver{
		Open: func(t *testing.T) keystore.Store { return open(t, newPath(t)) },
		Reopen: func(t *testing.T, s keystore.Store) keystore.Store {
			require.NoError(t, s.(*boltstore.Store).Close())
			return open(t, paths[s])
		},
	})
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "keys.db") }

func openNew(t testing.TB) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(newPath(t), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func ExampleOpen() {
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "keys.db")

	store, err := boltstore.Open(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Put(context.Background(), "key/a", "", []byte("sealed")); err != nil {
		log.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Mode())
	// Output: -rw-------
}
