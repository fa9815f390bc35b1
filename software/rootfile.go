package software

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/keyhold/kms/internal/xaes"
)

// ErrRootFile is OpenRootFile's answer to a file that is not safe or is not a root file.
// The text says what is wrong with it.
var ErrRootFile = errors.New("software: refused as a root file")

// A root file is one line: the name of the format, a space, the key in lower-case hex.
const (
	rootFileFormat = "keyhold-root-1 "
	rootFileSize   = len(rootFileFormat) + 2*xaes.KeySize + 1
)

// OpenRootFile returns the root whose key is in the file at path, and makes the file, with
// mode 0600 and a new random key, where there is none. Programs that do so at the same
// time get the same root. The folder must exist, and its file system must know hard links.
//
// A symbolic link, anything else that is not a regular file, a mode that lets others than
// the owner at it (not looked at on Windows), and content that OpenRootFile would not have
// written are ErrRootFile. Other errors are those of package os.
//
// Who has the file can open all that the root sealed; who loses it can open nothing. It
// belongs in another backup than the key store. Where a key store exists, a new root file
// is never what is wanted: if the file has gone, restore it.
func OpenRootFile(path string) (*Root, error) {
	root, err := readRootFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createRootFile(path); err != nil {
			return nil, err
		}
		root, err = readRootFile(path)
	}
	if err != nil {
		return nil, err
	}
	// Whoever made the file may not have got so far. A folder that cannot be opened for
	// that does no harm: its maker could.
	_ = syncFolder(filepath.Dir(path))
	return root, nil
}

func readRootFile(path string) (*Root, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("software: reading a root file: %w", err)
	}
	if err := checkRootFile(path, before); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("software: reading a root file: %w", err)
	}
	defer f.Close()
	// The checks hold for what was opened, not for what was there a moment earlier.
	opened, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("software: reading a root file: %w", err)
	}
	if !os.SameFile(before, opened) {
		return nil, fmt.Errorf("%w: %s was exchanged while it was opened", ErrRootFile, path)
	}
	if err := checkRootFile(path, opened); err != nil {
		return nil, err
	}
	content := make([]byte, rootFileSize+1)
	defer clear(content)
	n, err := io.ReadFull(f, content)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("software: reading a root file: %w", err)
	}
	return parseRootFile(path, content[:n])
}

// checkRootFile refuses what the file is; parseRootFile, what is in it.
func checkRootFile(path string, info fs.FileInfo) error {
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%w: %s is a symbolic link", ErrRootFile, path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is not a regular file", ErrRootFile, path)
	case info.Mode().Perm()&^0o600 != 0 && runtime.GOOS != "windows":
		return fmt.Errorf("%w: %s has mode %#o, not 0600", ErrRootFile, path, info.Mode().Perm())
	case info.Size() != int64(rootFileSize):
		return fmt.Errorf("%w: %s has %d bytes, not %d", ErrRootFile, path, info.Size(), rootFileSize)
	}
	return nil
}

func formatRootFile(key []byte) []byte {
	line := append(make([]byte, 0, rootFileSize), rootFileFormat...)
	line = hex.AppendEncode(line, key)
	return append(line, '\n')
}

func parseRootFile(path string, content []byte) (*Root, error) {
	key := make([]byte, xaes.KeySize)
	defer clear(key)
	if len(content) == rootFileSize {
		// An error is caught below: then the key does not give the content back.
		_, _ = hex.Decode(key, content[len(rootFileFormat):rootFileSize-1])
	}
	again := formatRootFile(key)
	defer clear(again)
	if string(again) != string(content) {
		return nil, fmt.Errorf("%w: the content of %s is not that of one", ErrRootFile, path)
	}
	root, err := NewRoot(key)
	if errors.Is(err, ErrRootKey) {
		return nil, fmt.Errorf("%w: %s: %w", ErrRootFile, path, err)
	}
	return root, err
}

// createRootFile makes the file with a new key, or leaves the one that is there. The file
// has its whole content on the disk before it has its name.
func createRootFile(path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("software: making a root file: %w", err)
		}
	}()
	key := make([]byte, xaes.KeySize)
	defer clear(key)
	_, _ = rand.Read(key) // never fails: without randomness it ends the program
	content := formatRootFile(key)
	defer clear(content)

	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = errors.Join(f.Chmod(0o600), writeAll(f, content), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(folder)
}

func writeAll(f *os.File, b []byte) error {
	_, err := f.Write(b)
	return err
}

// syncFolder makes a new name in the folder last. Windows does that itself.
func syncFolder(folder string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
