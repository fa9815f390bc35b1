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

// ErrRootFile is the answer of OpenRootFile to a file that is not safe or is not a root file.
// The text says what is wrong with it.
var ErrRootFile = errors.New("software: refused as a root file")

// A root file is one line: the name of the format, a space, the key in lower-case hex.
const (
	rootFileFormat = "keyhold-root-1 "
	rootFileSize   = len(rootFileFormat) + 2*xaes.KeySize + 1
)

// OpenRootFile returns the root whose key is in the file at path. It never makes a file: where
// there is none it is fs.ErrNotExist. Where a key store exists, a new root file is never what is
// wanted: if the file has gone, restore it.
//
// A symbolic link, anything else that is not a regular file, a mode that lets others than the
// owner at it (not looked at on Windows), and content that CreateRootFile would not have
// written are ErrRootFile. Other errors are those of package os.
//
// Who has the file can open all that the root sealed; who loses it can open nothing. It
// belongs in another backup than the key store.
func OpenRootFile(path string) (*Root, error) {
	root, err := readRootFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; CreateRootFile makes one for a key store that is new", err)
	}
	if err != nil {
		return nil, err
	}
	// Who made the file may not have got so far. A folder that cannot be opened for that does no
	// harm: its maker could.
	_ = privatefile.SyncFolder(filepath.Dir(path))
	return root, nil
}

// CreateRootFile makes the file at path, with mode 0600 and a new random key, and returns its root.
// It never opens a file: where there is something already it is fs.ErrExist, and that is left
// alone. So is it for all but one of several programs that do so at the same time. The folder must
// exist, and its file system must know hard links.
//
// The new root opens nothing that another root sealed: it is for a key store that is new, as the next
// root in a rotation, or for the recipient of backups.
func CreateRootFile(path string) (*Root, error) {
	key := make([]byte, xaes.KeySize)
	defer clear(key)
	_, _ = rand.Read(key) // never fails: without randomness it ends the program
	content := formatRootFile(key)
	defer clear(content)
	err := privatefile.Create(path, content)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("software: making a root file: %w; OpenRootFile opens one that exists", err)
	case err != nil:
		return nil, fmt.Errorf("software: making a root file: %w", err)
	}
	return NewRoot(key)
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
