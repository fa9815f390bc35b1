// Package testtoken gives tests a token for hardware keys: one of SoftHSM, made for the test
// alone, or the one that the environment names. It uses package testing alone.
//
// Tests with a token run one after the other: a module has one state for the whole process, and
// SoftHSM reads its configuration when it is initialised. So New cannot be used in parallel tests.
package testtoken

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/keyhold/kms/internal/notrun"
)

// A Token is one to test with.
type Token struct {
	Module, Label, PIN string
	Folder             string // where SoftHSM keeps it; empty for a token of another module
}

// modules are where distributions have SoftHSM.
var modules = []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"}

// New is an empty token of SoftHSM. Without SoftHSM the test is skipped, which is told, or
// fails where nothing may be left out.
func New(t testing.TB) Token {
	t.Helper()
	module := ""
	for _, path := range modules {
		if _, err := os.Stat(path); err == nil && module == "" {
			module = path
		}
	}
	if _, err := exec.LookPath("softhsm2-util"); module == "" || err != nil {
		notrun.Without(t, "there is no SoftHSM (apt-get install softhsm2 opensc)")
	}
	if !cgo {
		notrun.Without(t, "it is built without cgo, which PKCS#11 needs")
	}
	dir := t.TempDir()
	tk := Token{Module: module, Label: "kms", PIN: "1234-5678", Folder: filepath.Join(dir, "tokens")}
	conf := filepath.Join(dir, "softhsm2.conf")
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n", tk.Folder)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	tk.Make(t)
	return tk
}

// Any is the token that KEYHOLD_HSM_MODULE, KEYHOLD_HSM_LABEL and KEYHOLD_HSM_PIN name, or New.
func Any(t testing.TB) Token {
	t.Helper()
	if module := os.Getenv("KEYHOLD_HSM_MODULE"); module != "" {
		return Token{Module: module, Label: os.Getenv("KEYHOLD_HSM_LABEL"), PIN: os.Getenv("KEYHOLD_HSM_PIN")}
	}
	return New(t)
}

// Make makes the token of SoftHSM in its folder, with nothing in it.
func (tk Token) Make(t testing.TB) {
	t.Helper()
	if err := os.MkdirAll(tk.Folder, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "softhsm2-util", "--init-token", "--free",
		"--label", tk.Label, "--so-pin", "12345678", "--pin", tk.PIN).CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util: %v: %s", err, out)
	}
}
