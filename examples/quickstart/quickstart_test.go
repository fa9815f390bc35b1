package main_test

import (
	"bytes"
	"crypto/rand"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// lines are what a run says, in this order.
var lines = []string{
	"Master key",
	"Encrypted",
	"Decrypted             by process",
	"DisableKey            the key is Disabled",
	"ScheduleKeyDeletion   the key is PendingDeletion",
	"refused with Rejected.PendingDeletion",
	"Hint: To use the key again",
	"CancelKeyDeletion     the key is Disabled",
	"refused with Rejected.Disabled",
	"EnableKey             the key is Enabled",
	"Decrypt               the same data key as before",
}

var keyID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// program is the path of the program. It is compiled once, and runs without the GODEBUG of
// this test: Tink's streams refuse with fips140=only.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "quickstart-")
		if err != nil {
			log.Fatal(err)
		}
		defer os.RemoveAll(folder)
		os.Setenv("GODEBUG", "")
		program = filepath.Join(folder, "quickstart.exe") // Windows wants the name, others do not mind
		if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
			log.Printf("%v: %s", err, out)
			return 1
		}
		return m.Run()
	}())
}

func runs(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	rest := string(out)
	for _, line := range lines {
		_, after, found := strings.Cut(rest, line)
		require.True(t, found, "%q is not there, or not in its place:\n%s", line, out)
		rest = after
	}
	return string(out)
}

// TestQuickstart runs it again and again, in one folder and in another.
func TestQuickstart(t *testing.T) {
	cache := t.TempDir()
	for _, name := range []string{"XDG_CACHE_HOME", "LocalAppData", "HOME"} {
		t.Setenv(name, cache) // where os.UserCacheDir looks, on one system or another
	}
	first := runs(t)
	second := runs(t)
	require.Contains(t, first, "made on")
	require.Contains(t, second, "found, made on")
	require.Equal(t, keyID.FindString(first), keyID.FindString(second), "the second run has another key")
	other := runs(t, "-dir", filepath.Join(t.TempDir(), "a", "b"))
	require.NotEqual(t, keyID.FindString(first), keyID.FindString(other))
}

// TestAnyFile: empty, small, and of several segments; the plaintext is not in what is kept.
func TestAnyFile(t *testing.T) {
	folder := t.TempDir()
	for name, content := range map[string][]byte{
		"empty": {}, "small": []byte("a line that can be recognized"), "large.bin": randomBytes(5<<20 + 1),
	} {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		runs(t, "-dir", folder, path)
		sealed, err := os.ReadFile(filepath.Join(folder, name+".sealed"))
		require.NoError(t, err)
		if len(content) > 0 {
			require.False(t, bytes.Contains(sealed, content[:min(20, len(content))]))
		}
	}
	litter, err := filepath.Glob(filepath.Join(folder, "unfinished-*"))
	require.NoError(t, err)
	require.Empty(t, litter)
}

// TestDamagedFile: cut off, changed, or under another name, a file does not open.
func TestDamagedFile(t *testing.T) {
	folder := t.TempDir()
	runs(t, "-dir", folder)
	sealed, err := os.ReadFile(filepath.Join(folder, "main.go.sealed"))
	require.NoError(t, err)
	opens := func(name string, content []byte) error {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return exec.CommandContext(t.Context(), program, "-dir", folder, "-open", path).Run()
	}
	changed := bytes.Clone(sealed)
	changed[len(changed)/2] ^= 1
	long := bytes.Clone(sealed)
	long[0] = 0xff
	require.NoError(t, opens("main.go.sealed", sealed))
	require.Error(t, opens("other.go.sealed", sealed))
	require.Error(t, opens("main.go.sealed", sealed[:len(sealed)-1]))
	require.Error(t, opens("main.go.sealed", sealed[:3]))
	require.Error(t, opens("main.go.sealed", nil))
	require.Error(t, opens("main.go.sealed", changed))
	require.Error(t, opens("main.go.sealed", long))
}

// TestAfterAnInterruption: a run that was killed leaves the key pending deletion; the next
// one takes that back.
func TestAfterAnInterruption(t *testing.T) {
	folder := t.TempDir()
	first := runs(t, "-dir", folder)

	root, err := software.OpenRootFile(filepath.Join(folder, "root.key"))
	require.NoError(t, err)
	store, err := boltstore.Open(filepath.Join(folder, "keys.db"), nil)
	require.NoError(t, err)
	m, err := kms.Open(t.Context(), kms.Config{Store: store, Root: root, Software: software.New()})
	require.NoError(t, err)
	_, err = m.DisableKey(t.Context(), keyID.FindString(first))
	require.NoError(t, err)
	_, err = m.ScheduleKeyDeletion(t.Context(), keyID.FindString(first), kms.MinDeletionDays)
	require.NoError(t, err)
	require.NoError(t, store.Close())

	require.Equal(t, keyID.FindString(first), keyID.FindString(runs(t, "-dir", folder)))
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
