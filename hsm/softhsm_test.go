//go:build cgo

package hsm_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/hsm"
)

// A token is one to test with. Tests run one after the other: a module has one state for the
// whole process, and SoftHSM reads its configuration when it is initialised.
type token struct {
	module, label, pin string
	folder             string // where SoftHSM keeps it; empty for another module
}

// modules are where distributions have SoftHSM.
var modules = []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"}

// softHSM makes an empty token of SoftHSM, for this test alone.
func softHSM(t testing.TB) token {
	t.Helper()
	module := ""
	for _, path := range modules {
		if _, err := os.Stat(path); err == nil && module == "" {
			module = path
		}
	}
	_, err := exec.LookPath("softhsm2-util")
	if module == "" || err != nil {
		require.False(t, required, "KEYHOLD_HSM=1, and there is no SoftHSM: apt-get install softhsm2 opensc")
		notRun.Add(1)
		t.Skip("there is no SoftHSM: apt-get install softhsm2 opensc")
	}
	dir := t.TempDir()
	tk := token{module: module, label: "kms", pin: "1234-5678", folder: filepath.Join(dir, "tokens")}
	require.NoError(t, os.Mkdir(tk.folder, 0o700))
	conf := filepath.Join(dir, "softhsm2.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil,
		"directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n", tk.folder), 0o600))
	t.Setenv("SOFTHSM2_CONF", conf)
	run(t, "softhsm2-util", "--init-token", "--free", "--label", tk.label, "--so-pin", "12345678", "--pin", tk.pin)
	return tk
}

// anyToken is the token of another module, if the environment names one, or SoftHSM's.
func anyToken(t testing.TB) token {
	t.Helper()
	if module := os.Getenv("KEYHOLD_HSM_MODULE"); module != "" {
		return token{module: module, label: os.Getenv("KEYHOLD_HSM_LABEL"), pin: os.Getenv("KEYHOLD_HSM_PIN")}
	}
	return softHSM(t)
}

func run(t testing.TB, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	require.NoError(t, err, "%s: %s", program, out)
	return string(out)
}

func (tk token) config() hsm.Config {
	return hsm.Config{Module: tk.module, TokenLabel: tk.label, PIN: func() (string, error) { return tk.pin, nil }}
}

// open opens the token for the length of the test.
func (tk token) open(t testing.TB) *hsm.Token {
	t.Helper()
	token, err := hsm.Open(t.Context(), tk.config())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, token.Close()) })
	return token
}
