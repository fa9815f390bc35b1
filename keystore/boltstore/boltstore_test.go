package boltstore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore/boltstore"
)

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "keys.db") }

func openNew(t testing.TB) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(newPath(t), &boltstore.Options{Create: true})
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

	store, err := boltstore.Open(path, &boltstore.Options{Create: true})
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
