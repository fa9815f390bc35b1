//go:build cgo

package hsm_test

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
)

// required is whether these tests must find a token: make test says so.
var required = os.Getenv("KEYHOLD_HSM") == "1"

// notRun counts the tests that found none.
var notRun atomic.Int32

// TestMain says at the end what was not run. The go command keeps what a package printed to
// itself when that passed, so it is told to the go command's own error output as well.
func TestMain(m *testing.M) {
	code := m.Run()
	if built.folder != "" {
		_ = os.RemoveAll(built.folder)
	}
	if n := notRun.Load(); n > 0 {
		says := fmt.Sprintf("hsm: NOT RUN: %d tests of hardware keys, for there is no SoftHSM here. apt-get install softhsm2 opensc, or: make test\n", n)
		fmt.Fprint(os.Stderr, says)
		if f, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/2", os.Getppid()), os.O_WRONLY|os.O_APPEND, 0); err == nil {
			fmt.Fprint(f, says)
			_ = f.Close()
		}
	}
	os.Exit(code)
}
