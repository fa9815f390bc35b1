// Package kit has what many tests of the service share: services on each kind of store, keys in
// each state, material to import, and ways to look at a store and to change it. It fails tests
// through package testing, without testify: a failure in a helper fails the calling test.
//
// A test binary that uses New, OnStores, EachStore, Everywhere, Database or OpenToken begins with
//
//	func TestMain(m *testing.M) { os.Exit(kit.Main(m)) }
package kit

import (
	"testing"

	"github.com/keyhold/kms/internal/pgtest"
)

// Main runs the tests of a package, stops the database server that they shared, and reports what
// was not run. It returns the code for os.Exit.
func Main(m *testing.M) int { return pgtest.Main(m) }

// must fails the test if what it was doing failed.
func must(t testing.TB, doing string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("kit: %s: %v", doing, err)
	}
}
