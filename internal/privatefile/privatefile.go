// Package privatefile reads and makes the files that hold something secret: nobody but their
// owner may have access, and nothing may lead elsewhere. It is for the packages of this module
// that have such a file.
package privatefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Refused is the error of a file that is not safe. Its text names the file and says why.
type Refused struct{ why string }

// Error names the file and says why it is refused.
func (r *Refused) Error() string { return r.why }

// Read returns the content of the file at path, at most limit bytes. A symbolic link, anything
// else that is not a regular file, a mode that lets others than the owner at it (not looked at on
// Windows), and a longer file are Refused. Other errors are those of package os.
func Read(path string, limit int) ([]byte, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if err := check(path, before, limit); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// The checks hold for what was opened, not for what was there a moment earlier.
	opened, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !os.SameFile(before, opened) {
		return nil, &Refused{path + " was exchanged while it was opened"}
	}
	if err := check(path, opened, limit); err != nil {
		return nil, err
	}
	// A byte more than there should be, so that a file which grows meanwhile is noticed.
	content := make([]byte, opened.Size()+1)
	n, err := io.ReadFull(f, content)
	switch {
	case err == nil:
		clear(content)
		return nil, &Refused{path + " changed while it was read"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return content[:n], nil
	default:
		clear(content)
		return nil, err
	}
}

func check(path string, info fs.FileInfo, limit int) error {
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return &Refused{path + " is a symbolic link"}
	case !info.Mode().IsRegular():
		return &Refused{path + " is not a regular file"}
	case info.Mode().Perm()&^0o600 != 0 && runtime.GOOS != "windows":
		return &Refused{fmt.Sprintf("%s has mode %#o, not 0600", path, info.Mode().Perm())}
	case info.Size() > int64(limit):
		return &Refused{fmt.Sprintf("%s is longer than %d bytes", path, limit)}
	}
	return nil
}

// Create makes the file at path with mode 0600, or answers fs.ErrExist where there is something,
// which it leaves alone. The file has its whole content on the disk before it has its name. The
// folder must exist, and its file system must know hard links.
func Create(path string, content []byte) error {
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return SyncFolder(folder)
}

// SyncFolder makes a new name in the folder last. Windows does that itself.
func SyncFolder(folder string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
