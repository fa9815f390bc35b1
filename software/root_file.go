package software

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/keyhold/kms/internal/privatefile"
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
	_ = privatefile.SyncFolder(filepath.Dir(path))
	return root, nil
}

func readRootFile(path string) (*Root, error) {
	content, err := privatefile.Read(path, rootFileSize)
	if refused := new(privatefile.Refused); errors.As(err, &refused) {
		return nil, fmt.Errorf("%w: %w", ErrRootFile, err)
	}
	if err != nil {
		return nil, fmt.Errorf("software: reading a root file: %w", err)
	}
	defer clear(content)
	return parseRootFile(path, content)
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

// createRootFile makes the file with a new key, or leaves the one that is there.
func createRootFile(path string) error {
	key := make([]byte, xaes.KeySize)
	defer clear(key)
	_, _ = rand.Read(key) // never fails: without randomness it ends the program
	content := formatRootFile(key)
	defer clear(content)
	if err := privatefile.Create(path, content); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("software: making a root file: %w", err)
	}
	return nil
}
