package kit

import (
	"crypto/rand"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/pgtest"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/keystore/pgstore"
	"github.com/keyhold/kms/kmstest"
)

// A place is a kind of store that may hold the keys. What holds for a key holds on all.
type place struct {
	name string
	open func(t testing.TB) keystore.Store
}

func places() []place {
	return []place{
		{"Memory", func(testing.TB) keystore.Store { return new(keystore.Memory) }},
		{"boltstore", func(t testing.TB) keystore.Store {
			s, err := boltstore.Open(filepath.Join(t.TempDir(), "keys.db"), &boltstore.Options{Create: true})
			must(t, "opening a file", err)
			t.Cleanup(func() { must(t, "closing a file", s.Close()) })
			return s
		}},
		{"pgstore", func(t testing.TB) keystore.Store {
			s, err := pgstore.OpenPool(t.Context(), Database(t), &pgstore.Options{Table: "t" + rand.Text(), Create: true})
			must(t, "opening a table", err)
			t.Cleanup(func() { must(t, "closing a table", s.Close()) })
			return s
		}},
	}
}

// EachStore runs a test once for each kind of store, as a subtest that has the store's name. The
// test makes its services with New. A test that needs one service uses OnStores.
func EachStore(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	for _, p := range places() {
		t.Run(p.name, test)
	}
}

// OnStores runs a test once for each kind of store, with a service that keeps its keys there.
// Changes to the Config of the service may be given.
func OnStores(t *testing.T, test func(t *testing.T, k *kmstest.KMS), changes ...func(*kms.Config)) {
	t.Helper()
	EachStore(t, func(t *testing.T) { test(t, New(t, changes...)) })
}

// Everywhere is EachStore for a test that holds for keys in hardware, too.
func Everywhere(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	EachStore(t, test)
	t.Run(AtHardware, func(t *testing.T) {
		_, token := OpenToken(t)
		UseToken(token)
		test(t)
	})
}

// New is kmstest.New at the place that the second part of the test's name says: on that store, or
// at the hardware. Where it says none, the keys are in Memory.
func New(t testing.TB, changes ...func(*kms.Config)) *kmstest.KMS {
	t.Helper()
	_, name, _ := strings.Cut(t.Name(), "/")
	name, _, _ = strings.Cut(name, "/")
	if name == AtHardware {
		changes = append([]func(*kms.Config){InToken(tokenOfTest.Load())}, changes...)
	}
	for _, p := range places() {
		if p.name == name {
			store := p.open(t)
			changes = append([]func(*kms.Config){func(c *kms.Config) { c.Store = store }}, changes...)
		}
	}
	return kmstest.New(t, changes...)
}

// OnMemory is how often to do something that is quick on Memory and slow on a disk.
func OnMemory(t testing.TB, quick, slow int) int {
	if strings.HasSuffix(t.Name(), "/Memory") {
		return quick
	}
	return slow
}

// connections lead to the server that the tests of this binary share.
var connections struct {
	sync.Mutex
	*pgxpool.Pool
}

// Database returns connections to the database server that the tests of this binary share.
func Database(t testing.TB) *pgxpool.Pool {
	t.Helper()
	server := pgtest.Shared(t)
	connections.Lock()
	defer connections.Unlock()
	if connections.Pool == nil {
		pool, err := pgxpool.New(t.Context(), server.DSN(server.Address(), "pool_max_conns=8"))
		must(t, "connecting to the database", err)
		connections.Pool = pool
	}
	return connections.Pool
}
