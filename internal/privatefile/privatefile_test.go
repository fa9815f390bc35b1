package privatefile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/privatefile"
)

func TestCreateAndRead(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, content := range map[string]string{"empty": "", "one": "1", "all": "12345678"} {
		path := filepath.Join(folder, name)
		require.NoError(t, privatefile.Create(path, []byte(content)))
		b, err := privatefile.Read(path, 8)
		require.NoError(t, err)
		require.Equal(t, content, string(b))
		info, err := os.Stat(path)
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
		}
		require.ErrorIs(t, privatefile.Create(path, []byte("other")), fs.ErrExist)
		b, err = privatefile.Read(path, 8)
		require.NoError(t, err)
		require.Equal(t, content, string(b), "what was there was left alone")
	}
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, left, 3, "nothing else is left in the folder")
	_, err = privatefile.Read(filepath.Join(folder, "none"), 8)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, privatefile.Create(filepath.Join(folder, "no", "folder"), nil), fs.ErrNotExist)
}

func refused(t *testing.T, path, why string) {
	t.Helper()
	b, err := privatefile.Read(path, 8)
	var r *privatefile.Refused
	require.True(t, errors.As(err, &r), "%v", err)
	require.Equal(t, path+" "+why, err.Error())
	require.Nil(t, b)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "file")
	refused(t, folder, "is not a regular file")
	require.NoError(t, privatefile.Create(path, []byte("123456789")))
	refused(t, path, "is longer than 8 bytes")

	link := filepath.Join(folder, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Log("no symbolic links here: ", err)
	} else {
		refused(t, link, "is a symbolic link")
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no modes")
	}
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, privatefile.Create(path, nil))
	for mode, why := range map[fs.FileMode]string{
		0o604: "has mode 0604, not 0600", 0o640: "has mode 0640, not 0600", 0o700: "has mode 0700, not 0600", 0o444: "has mode 0444, not 0600",
	} {
		require.NoError(t, os.Chmod(path, mode))
		refused(t, path, why)
	}
	require.NoError(t, os.Chmod(path, 0o400))
	_, err := privatefile.Read(path, 8)
	require.NoError(t, err)
}

// TestOneCreates: of many that make the file at once, one does, and the others are told.
func TestOneCreates(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = privatefile.Create(path, []byte{byte(i)}) })
	}
	wg.Wait()
	b, err := privatefile.Read(path, 8)
	require.NoError(t, err)
	require.Len(t, b, 1)
	for i, err := range errs {
		if i == int(b[0]) {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, fs.ErrExist)
		}
	}
}
