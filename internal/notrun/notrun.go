// Package notrun has tests say what they were not run for: a token, a database server. A test
// that lacks such a thing is skipped, and the log of go test ends with what was not run; with
// KEYHOLD_ALL=1, which make test sets, it fails instead. It uses package testing alone.
//
// A test binary that uses it begins with
//
//	func TestMain(m *testing.M) { os.Exit(notrun.Main(m)) }
package notrun

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Variable is the environment variable that makes it a failure to leave something out.
const Variable = "KEYHOLD_ALL"

// Required tells whether nothing may be left out.
func Required() bool { return os.Getenv(Variable) != "" }

// left is what was left out: what was lacking, and the tests that lacked it.
var left struct {
	sync.Mutex
	tests map[string][]string
}

// Without ends a test that lacks something: it is skipped, which Main tells of, or fails where
// nothing may be left out. The text says what is lacking and where to get it.
func Without(t testing.TB, lacking string) {
	t.Helper()
	if Required() {
		t.Fatalf("%s=%s, and %s", Variable, os.Getenv(Variable), lacking)
	}
	left.Lock()
	if left.tests == nil {
		left.tests = map[string][]string{}
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	if !slices.Contains(left.tests[lacking], name) {
		left.tests[lacking] = append(left.tests[lacking], name)
	}
	left.Unlock()
	t.Skip(lacking)
}

// Main runs the tests of a package and says what was not run. The go command keeps what a
// package printed to itself where that passed, and so is told as well on its own error output,
// where there is such a thing. It returns what os.Exit is to be given.
func Main(m *testing.M) int {
	code := m.Run()
	left.Lock()
	defer left.Unlock()
	for lacking, tests := range left.tests {
		folder, _ := os.Getwd()
		says := fmt.Sprintf("NOT RUN in %s: %s, because %s. make test-all runs everything.\n", filepath.Base(folder), strings.Join(tests, ", "), lacking)
		_, _ = io.WriteString(os.Stderr, says)
		if parent, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/2", os.Getppid()), os.O_WRONLY|os.O_APPEND, 0); err == nil {
			_, _ = io.WriteString(parent, says)
			_ = parent.Close()
		}
	}
	return code
}
