//go:build cgo

package hsm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A shim is a module in front of SoftHSM that does as it is told: see testdata/shim.c.
type shim struct{ control string }

// shimmed is a token of SoftHSM behind the shim.
func shimmed(t testing.TB) (token, shim) {
	t.Helper()
	tk := softHSM(t)
	s := shim{filepath.Join(t.TempDir(), "control")}
	s.does(t)
	t.Setenv("KEYHOLD_SHIM_REAL", tk.Module)
	t.Setenv("KEYHOLD_SHIM_CONTROL", s.control)
	tk.Module = buildShim(t)
	return tk, s
}

// does replaces what the shim is told.
func (s shim) does(t testing.TB, lines ...string) {
	t.Helper()
	fresh := s.control + ".new"
	require.NoError(t, os.WriteFile(fresh, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	require.NoError(t, os.Rename(fresh, s.control))
}

// built is where the shim was built, once; TestMain removes it.
var built struct {
	sync.Once
	folder string
	err    error
	log    []byte
}

func buildShim(t testing.TB) string {
	t.Helper()
	built.Do(func() {
		if built.folder, built.err = os.MkdirTemp("", "keyhold-shim"); built.err != nil {
			return
		}
		headers, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/miekg/pkcs11").Output()
		if built.err = err; err != nil {
			return
		}
		cc := os.Getenv("CC")
		if cc == "" {
			cc = "cc"
		}
		built.log, built.err = exec.Command(cc, "-O2", "-Wall", "-fPIC", "-shared", "-Wl,-z,nodelete", "-o", filepath.Join(built.folder, "shim.so"),
			"-I"+strings.TrimSpace(string(headers)), filepath.Join("testdata", "shim.c"), "-ldl", "-lpthread").CombinedOutput()
	})
	require.NoError(t, built.err, "building testdata/shim.c needs a C compiler: %s", built.log)
	return filepath.Join(built.folder, "shim.so")
}
