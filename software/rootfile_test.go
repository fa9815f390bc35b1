package software_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/software"
)

// sameRoot checks that each root opens what the other seals.
func sameRoot(t *testing.T, a, b *software.Root) {
	t.Helper()
	for _, pair := range [][2]*software.Root{{a, b}, {b, a}} {
		sealed, err := pair[0].Encrypt([]byte("plaintext"), nil)
		require.NoError(t, err)
		_, err = pair[1].Decrypt(sealed, nil)
		require.NoError(t, err)
	}
}

func TestRootFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "root")
	made, err := software.CreateRootFile(path)
	require.NoError(t, err)

	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.True(t, info.Mode().IsRegular())
	if runtime.GOOS != "windows" {
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Regexp(t, `^keyhold-root-1 [0-9a-f]{64}\n$`, string(content))
	key := unhex(t, strings.TrimSpace(strings.TrimPrefix(string(content), "keyhold-root-1 ")))
	require.Equal(t, string(content), string(software.FormatRootFile(key)))
	byKey, err := software.NewRoot(key)
	require.NoError(t, err)
	sameRoot(t, made, byKey)

	again, err := software.OpenRootFile(path)
	require.NoError(t, err)
	sameRoot(t, made, again)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, content, after)

	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing else is left in the folder")

	other, err := software.CreateRootFile(filepath.Join(folder, "other"))
	require.NoError(t, err)
	sealed, err := other.Encrypt(nil, nil)
	require.NoError(t, err)
	_, err = made.Decrypt(sealed, nil)
	require.ErrorIs(t, err, software.ErrRootCiphertext, "every file has its own key")
}

func TestRootFileModes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no modes")
	}
	path := filepath.Join(t.TempDir(), "root")
	_, err := software.CreateRootFile(path)
	require.NoError(t, err)
	for _, mode := range []fs.FileMode{0o601, 0o602, 0o604, 0o610, 0o620, 0o640, 0o644, 0o660, 0o666, 0o700, 0o777, 0o444} {
		require.NoError(t, os.Chmod(path, mode))
		r, err := software.OpenRootFile(path)
		require.ErrorIs(t, err, software.ErrRootFile, "%#o", mode)
		require.Nil(t, r)
	}
	for _, mode := range []fs.FileMode{0o400, 0o600} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := software.OpenRootFile(path)
		require.NoError(t, err, "%#o", mode)
	}
}

func TestRootFileIsNoLink(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	target, link := filepath.Join(folder, "root"), filepath.Join(folder, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	refuse := func() {
		t.Helper()
		r, err := software.OpenRootFile(link)
		require.ErrorIs(t, err, software.ErrRootFile)
		require.Nil(t, r)
	}
	refuse() // dangling: nothing is made where it leads
	_, err := software.CreateRootFile(link)
	require.ErrorIs(t, err, fs.ErrExist)
	require.NoFileExists(t, target)
	_, err = software.CreateRootFile(target)
	require.NoError(t, err)
	refuse()
}

func TestRootFileContent(t *testing.T) {
	t.Parallel()
	good := string(software.FormatRootFile(randomBytes(t, 32)))
	for name, content := range map[string]string{
		"empty":            "",
		"cut":              good[:len(good)-1],
		"longer":           good + "\n",
		"twice":            good + good,
		"no line end":      good[:len(good)-1] + " ",
		"CR":               good[:len(good)-1] + "\r",
		"upper case":       strings.ToUpper(good),
		"upper-case digit": good[:20] + "A" + good[21:],
		"not hex":          good[:20] + "g" + good[21:],
		"another version":  strings.Replace(good, "-1 ", "-2 ", 1),
		"no header":        strings.Repeat("a", len(good)-1) + "\n",
		"binary":           string(randomBytes(t, len(good))),
		"one byte 32 times": string(software.FormatRootFile(
			bytes.Repeat([]byte{7}, 32))),
	} {
		path := filepath.Join(t.TempDir(), "root")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		r, err := software.OpenRootFile(path)
		require.ErrorIs(t, err, software.ErrRootFile, name)
		require.Nil(t, r)
		if len(content) > 40 {
			require.NotContains(t, err.Error(), content[20:28], name)
		}
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, content, string(after), "%s: the file was left alone", name)
	}
}

func TestRootFileIsNoFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	_, err := software.OpenRootFile(folder)
	require.ErrorIs(t, err, software.ErrRootFile)
	_, err = software.CreateRootFile(folder)
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = software.CreateRootFile(filepath.Join(folder, "no", "such", "folder"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = software.OpenRootFile(filepath.Join(folder, "no", "such", "folder"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = software.OpenRootFile("")
	require.Error(t, err)
}

// openOrCreate is what programs do that start for the first time at the same time.
func openOrCreate(path string) (*software.Root, error) {
	root, err := software.CreateRootFile(path)
	if errors.Is(err, fs.ErrExist) {
		return software.OpenRootFile(path)
	}
	return root, err
}

// TestRootFileSaysWhatToCall: no call makes what it should open, or opens what it should make, and
// each names the other.
func TestRootFileSaysWhatToCall(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "root")
	r, err := software.OpenRootFile(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "CreateRootFile")
	require.Nil(t, r)
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is made")

	_, err = software.CreateRootFile(path)
	require.NoError(t, err)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	r, err = software.CreateRootFile(path)
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, "OpenRootFile")
	require.Nil(t, r)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after, "what was there is left alone")
}

func TestRootFileManyGoroutines(t *testing.T) {
	t.Parallel()
	for range 10 {
		path := filepath.Join(t.TempDir(), "root")
		roots, errs := make([]*software.Root, 16), make([]error, 16)
		var wg sync.WaitGroup
		for i := range roots {
			wg.Go(func() { roots[i], errs[i] = openOrCreate(path) })
		}
		wg.Wait()
		for i := range roots {
			require.NoError(t, errs[i])
			sameRoot(t, roots[0], roots[i])
		}
	}
}

// TestRootFileManyProcesses: processes that start at the same time get the same root. The
// test runs itself as those processes, which wait for a line to start all at once.
func TestRootFileManyProcesses(t *testing.T) {
	const env = "KEYHOLD_TEST_ROOT_FILE"
	if path := os.Getenv(env); path != "" {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		r, err := openOrCreate(path)
		require.NoError(t, err)
		sealed, err := r.Encrypt([]byte("plaintext"), nil)
		require.NoError(t, err)
		fmt.Printf("sealed %x\n", sealed)
		return
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "root")
	const processes = 8
	outs := make([]bytes.Buffer, processes)
	var start []func() error
	var cmds []*exec.Cmd
	for i := range processes {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRootFileManyProcesses$")
		cmd.Env = append(os.Environ(), env+"="+path)
		cmd.Stdout, cmd.Stderr = &outs[i], &outs[i]
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		start, cmds = append(start, in.Close), append(cmds, cmd)
	}
	for _, f := range start {
		require.NoError(t, f())
	}
	for i, cmd := range cmds {
		require.NoError(t, cmd.Wait(), "%s", outs[i].String())
	}
	r, err := software.OpenRootFile(path)
	require.NoError(t, err)
	for i := range outs {
		line, _, _ := strings.Cut(outs[i].String(), "\n")
		sealed, ok := strings.CutPrefix(line, "sealed ")
		require.True(t, ok, line)
		_, err := r.Decrypt(unhex(t, sealed), nil)
		require.NoError(t, err)
	}
}
