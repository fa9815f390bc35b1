// Package pgtest gives tests a PostgreSQL server of their own: a cluster that initdb makes
// in a folder of its own, on a free port of the loopback, as a user who is not root. It
// needs nothing but PostgreSQL's programs, and nothing else on the machine is touched.
//
// A test binary that uses it begins with
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
// Where there is no PostgreSQL, the tests that need it are skipped and the log ends with
// their names. With KEYHOLD_POSTGRES=1 they fail instead.
package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Required is the environment variable that makes a missing PostgreSQL a failure.
const Required = "KEYHOLD_POSTGRES"

var errMissing = errors.New("pgtest: there is no PostgreSQL here (Debian has it in postgresql-15)")

// shared is the server of the test binary, started by the first test that asks for it.
var shared struct {
	sync.Mutex
	server  *Server
	skipped []string
}

// Main runs the tests and stops the server that they shared. It returns what os.Exit is
// to be given.
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		if err := shared.server.remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	if len(shared.skipped) > 0 {
		slices.Sort(shared.skipped)
		fmt.Fprintf(os.Stderr, "*** NOT RUN, %v: %s\n", errMissing, strings.Join(slices.Compact(shared.skipped), ", "))
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
	programs, err := find()
	if err == nil {
		return programs
	}
	if os.Getenv(Required) != "" {
		t.Fatal(err)
	}
	shared.Lock()
	shared.skipped = append(shared.skipped, t.Name())
	shared.Unlock()
	t.Skip(err)
	return ""
}

// find looks where Debian has the programs, newest first, and then along PATH.
func find() (string, error) {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Reverse(folders)
	for _, folder := range append(folders, filepath.SplitList(os.Getenv("PATH"))...) {
		missing := slices.ContainsFunc([]string{"initdb", "pg_ctl", "postgres"}, func(name string) bool {
			_, err := os.Stat(filepath.Join(folder, name))
			return err != nil
		})
		if !missing {
			return folder, nil
		}
	}
	return "", errMissing
}
