package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Why Open refuses a file, besides ErrDamaged and what the operating system says.
var (
	// ErrInUse: another Store has the file open, in this process or in another.
	ErrInUse = errors.New("boltstore: the file is in use")

	// ErrPermissions: others than the owner may read or write the file.
	ErrPermissions = errors.New("boltstore: the file is open to others, its mode must be 0600")

	// ErrNotFile: the path names a folder, a symbolic link or a device.
	ErrNotFile = errors.New("boltstore: not a regular file")

	// ErrForeign: another program wrote the file, or a version of this package that is
	// newer than its format.
	ErrForeign = errors.New("boltstore: the file belongs to another program")
)

// Options are what may be chosen about a Store. Nil and the zero Options are the defaults.
type Options struct {
	// Create has Open make the file, with mode 0600, where there is none. Without it a path that
	// is mistyped is fs.ErrNotExist, and not an empty store.
	Create bool

	// LockTimeout is how long Open waits for a file that is in use. 0 is one second, and
	// what is negative does not wait.
	LockTimeout time.Duration
}

func (o *Options) lockTimeout() time.Duration {
	switch {
	case o == nil || o.LockTimeout == 0:
		return time.Second
	case o.LockTimeout < 0:
		return 1 // bbolt's 0 would wait for ever
	default:
		return o.LockTimeout
	}
}

// Open opens the file at path. Where there is none it is fs.ErrNotExist, or with Options.Create a
// new file. Its folder must exist. Symbolic links are refused, so that nobody can point the name at another
// file. An empty file is ErrDamaged, for it may be one that was emptied; if it is what a
// creation left that was cut short, remove it. An error has the path in its text and
// matches one of this package's or the operating system's.
//
// What Open reads to find damage is about one page in a hundred. ErrDamaged may still be
// the answer of a later call.
func Open(path string, opts *Options) (*Store, error) {
	s, err := open(path, opts)
	if err != nil {
		return nil, fmt.Errorf("boltstore: Open %q: %w", path, err)
	}
	return s, nil
}

func open(path string, opts *Options) (*Store, error) {
	db, file, err := openOrCreate(path, opts)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, file: file, turn: make(chan struct{}, 1)}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, giveUp(db, file, err))
	}
	return s, nil
}

func openOrCreate(path string, opts *Options) (*bbolt.DB, *os.File, error) {
	if opts != nil && opts.Create {
		db, file, err := openBolt(path, opts, os.O_RDWR|os.O_CREATE|os.O_EXCL)
		if !errors.Is(err, fs.ErrExist) {
			return db, file, err
		}
	}
	switch err := probe(path, opts); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, fmt.Errorf("%w; Options.Create makes the file of a new store", err)
	case err != nil:
		return nil, nil, err
	}
	return openBolt(path, opts, os.O_RDWR)
}

// probe looks at a file without writing to it: bbolt would, and would follow whatever a
// damaged page points at.
func probe(path string, opts *Options) error {
	switch info, err := os.Lstat(path); {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return ErrNotFile
	}
	db, file, err := openBolt(path, opts, os.O_RDONLY)
	if err != nil {
		return err
	}
	err = guarded(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			return treeOf(tx, file).check(tx)
		})
	})
	return errors.Join(err, giveUp(db, file, err))
}

// giveUp closes a file. If bbolt panicked it is not asked: it may never get its locks.
func giveUp(db *bbolt.DB, file *os.File, why error) error {
	var p panicked
	if errors.As(why, &p) {
		return abandon(file)
	}
	return db.Close()
}

// prepare makes what the file must have and, for one that is new, sees to it that its
// name is on the disk as well.
func (s *Store) prepare() error {
	err := guarded(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			if tx.Bucket(aboutBucket) != nil {
				return errPrepared
			}
			about, err := tx.CreateBucket(aboutBucket)
			if err != nil {
				return err
			}
			if _, err := tx.CreateBucket(itemsBucket); err != nil {
				return err
			}
			return about.Put(formatKey, format)
		})
	})
	if err != nil && !errors.Is(err, errPrepared) {
		return err
	}
	return syncFolder(filepath.Dir(s.file.Name()))
}

var errPrepared = errors.New("boltstore: the file has its buckets")

// recognize tells whether the buckets of a file are those of this package. A file whose
// creation was cut short has none.
func recognize(tx *bbolt.Tx) error {
	if name, _ := tx.Cursor().First(); name == nil {
		return nil
	}
	about := tx.Bucket(aboutBucket)
	switch {
	case about == nil || !bytes.Equal(about.Get(formatKey), format):
		return ErrForeign
	case tx.Bucket(itemsBucket) == nil:
		return ErrDamaged
	default:
		return nil
	}
}

// openBolt opens the file with a flag, not with the one that bbolt wants: bbolt would make
// a file where one has just gone. It also returns the file that db has open.
func openBolt(path string, opts *Options, flag int) (db *bbolt.DB, file *os.File, err error) {
	err = guarded(func() error {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:      opts.lockTimeout(),
			FreelistType: bbolt.FreelistMapType,
			ReadOnly:     flag == os.O_RDONLY,
			NoStatistics: true,
			OpenFile: func(path string, _ int, mode fs.FileMode) (*os.File, error) {
				file, err = openFile(path, flag, mode)
				return file, err
			},
		})
		return err
	})
	var system syscall.Errno
	var refused *fs.PathError
	switch {
	case err == nil:
		return db, file, nil
	case errors.Is(err, ErrDamaged):
		return nil, nil, errors.Join(err, abandon(file)) // bbolt panicked and left it open
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, nil, ErrInUse
	case flag == os.O_RDONLY && errors.As(err, &refused) && refused.Op == "write":
		return nil, nil, fmt.Errorf("%w: it is empty", ErrDamaged) // the one thing bbolt writes now
	case errors.Is(err, ErrPermissions), errors.Is(err, ErrNotFile), errors.As(err, &system):
		return nil, nil, err
	default: // the file is too short, or its first pages are wrong
		return nil, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
}

// openFile opens the file that bbolt will use, if it may.
func openFile(path string, flag int, mode fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag|noFollow, mode)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = ErrNotFile
	case openToOthers(info.Mode()):
		err = ErrPermissions
	default:
		return f, nil
	}
	return nil, errors.Join(err, f.Close())
}
