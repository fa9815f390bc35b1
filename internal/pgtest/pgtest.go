// Package pgtest gives tests a PostgreSQL server of their own: a cluster that initdb makes
// in a folder of its own, on a free port of the loopback, as a user who is not root. It
// needs nothing but PostgreSQL's programs, and nothing else on the machine is touched.
//
// A test binary that uses it begins with
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
// Where there is no PostgreSQL, the tests that need it are skipped, or fail, as package notrun
// says.
package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/keyhold/kms/internal/notrun"
)

const missing = "there is no PostgreSQL (apt-get install postgresql)"

// shared is the server of the test binary, started by the first test that asks for it.
var shared struct {
	sync.Mutex
	server *Server
}

// Main runs the tests and stops the server that they shared. It returns what os.Exit is
// to be given.
func Main(m *testing.M) int {
	code := notrun.Main(m)
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		if err := shared.server.remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// Shared returns the server that the tests of this binary share. They keep out of each
// other's way by the names of their tables. None may stop it.
func Shared(t testing.TB) *Server {
	t.Helper()
	programs := need(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		s, err := start(programs)
		if err != nil {
			t.Fatal(err)
		}
		shared.server = s
	}
	return shared.server
}

// New returns a server for this test alone, which may stop it. It is gone when t ends.
func New(t testing.TB) *Server {
	t.Helper()
	s, err := start(need(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// need returns the folder of PostgreSQL's programs.
func need(t testing.TB) string {
	t.Helper()
	programs := find()
	if programs == "" {
		notrun.Without(t, missing)
	}
	return programs
}

// find looks where Debian has the programs, newest first, and then along PATH; "": nowhere.
func find() string {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Reverse(folders)
	for _, folder := range append(folders, filepath.SplitList(os.Getenv("PATH"))...) {
		lacking := slices.ContainsFunc([]string{"initdb", "pg_ctl", "postgres"}, func(name string) bool {
			_, err := os.Stat(filepath.Join(folder, name))
			return err != nil
		})
		if !lacking {
			return folder
		}
	}
	return ""
}
