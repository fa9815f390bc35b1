package kms_test

import (
	"crypto/rand"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/internal/pgtest"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/keystore/pgstore"
	"github.com/keyhold/kms/kmstest"
)

// stores are where the keys may be kept. What holds for a key holds on all.
var stores = []struct {
	name string
	open func(t testing.TB) keystore.Store
}{
	{"Memory", func(testing.TB) keystore.Store { return new(keystore.Memory) }},
	{"boltstore", func(t testing.TB) keystore.Store {
		s, err := boltstore.Open(filepath.Join(t.TempDir(), "keys.db"), nil)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}},
	{"pgstore", func(t testing.TB) keystore.Store {
		s, err := pgstore.OpenPool(t.Context(), database(t), &pgstore.Options{Table: "t" + rand.Text()})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}},
}

// onStores runs a test on each of the stores, as a subtest that has the store's name, and
// tells that it did. A test that is to hold on all begins with
//
//	if onStores(t, TestThis) {
//		return
//	}
//
// and makes its services with newKMS. It is called again from there, and then does the work.
func onStores(t *testing.T, test func(*testing.T)) bool {
	t.Helper()
	if strings.Contains(t.Name(), "/") {
		return false
	}
	for _, s := range stores {
		t.Run(s.name, test)
	}
	return true
}

// everywhere is onStores for a test that is to hold for keys in hardware, too.
func everywhere(t *testing.T, test func(*testing.T)) bool {
	t.Helper()
	if !onStores(t, test) {
		return false
	}
	t.Run(atHardware, func(t *testing.T) {
		_, token := newToken(t)
		tokenOfTest.Store(token)
		test(t)
	})
	return true
}

// tokenOfTest is the token of the test that is run at the hardware.
var tokenOfTest atomic.Pointer[hsm.Token]

// onMemory is how often something is to be done that is quick on Memory, and slow on a disk.
func onMemory(t *testing.T, quick, slow int) int {
	if strings.HasSuffix(t.Name(), "/Memory") {
		return quick
	}
	return slow
}

// newKMS is kmstest.New where the test is run: on that store, or at the hardware.
func newKMS(t testing.TB, changes ...func(*kms.Config)) *kmstest.KMS {
	t.Helper()
	_, name, _ := strings.Cut(t.Name(), "/")
	name, _, _ = strings.Cut(name, "/")
	if name == atHardware {
		changes = append([]func(*kms.Config){inToken(tokenOfTest.Load())}, changes...)
	}
	for _, s := range stores {
		if s.name == name {
			store := s.open(t)
			changes = append([]func(*kms.Config){func(c *kms.Config) { c.Store = store }}, changes...)
		}
	}
	return kmstest.New(t, changes...)
}

// connections are to the server that the tests of this binary share.
var connections struct {
	sync.Mutex
	*pgxpool.Pool
}

func database(t testing.TB) *pgxpool.Pool {
	t.Helper()
	server := pgtest.Shared(t)
	connections.Lock()
	defer connections.Unlock()
	if connections.Pool == nil {
		pool, err := pgxpool.New(t.Context(), server.DSN(server.Address(), "pool_max_conns=8"))
		require.NoError(t, err)
		connections.Pool = pool
	}
	return connections.Pool
}
