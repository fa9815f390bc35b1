// Package boltstore keeps the records of a key management service in one file, for a
// program that has its keys to itself. It is a driver for package keystore; programs
// open it and pass it on. It takes no part in what the values mean, and encrypts nothing.
//
// The file belongs to one process at a time and to one user: it is created with mode
// 0600 and refused when others may read or write it. Put returns when the value is on
// the disk. A Get that runs beside a Put may see its value a moment before that.
package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/internal/pages"
	"github.com/keyhold/kms/keystore/internal/ring"
)

// Store is a keystore.Store in one file. Open makes one. Its feed reaches back over the
// last 1024 replacements of a segment and begins anew when the file is opened.
type Store struct {
	db   *bbolt.DB
	file *os.File // the one that db has open
	ring ring.Ring

	closed atomic.Bool
	failed atomic.Pointer[error] // why nothing is written any more
	locked atomic.Bool           // bbolt panicked with its locks held: nothing is read either

	turn  chan struct{} // held by the writer that commits for all
	mu    sync.Mutex
	queue []*put // what the next commit will write
}

var (
	_ keystore.Store = (*Store)(nil)
	_ keystore.Local = (*Store)(nil)
)

// The file has two buckets. One tells what the file is:
//
//	"keyhold":  "format" -> "keystore 1"
//
// and one has the items. Its sequence counts all that were ever put, and gives each its
// version:
//
//	"items":  name -> version (8 bytes, big-endian) value
var (
	aboutBucket = []byte("keyhold")
	formatKey   = []byte("format")
	format      = []byte("keystore 1")
	itemsBucket = []byte("items")
)

const versionSize = 8

// Get implements keystore.Store. ErrDamaged is its answer where the file cannot be read.
func (s *Store) Get(ctx context.Context, name string) (item keystore.Item, err error) {
	if err := ctx.Err(); err != nil {
		return keystore.Item{}, err
	}
	err = s.view(func(items *bbolt.Bucket) error {
		stored := items.Get([]byte(name))
		if stored == nil {
			return keystore.ErrNotFound
		}
		item, err = decode(name, stored)
		return err
	})
	return item, err
}

// List implements keystore.Store. ErrDamaged is its answer where the file cannot be read.
// What is yielded was read a few items ahead; the file is free while the loop runs.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	return pages.List(ctx, after, func(after, last string, limit int) ([]keystore.Item, string, error) {
		page, last, err := s.page(prefix, after, last, limit)
		if ctx.Err() != nil { // which page does not know
			return nil, "", ctx.Err()
		}
		return page, last, err
	})
}

// pageBytes is how much a page of a List may hold before it ends.
const pageBytes = 1 << 20

// page reads items under prefix that sort after a name, up to a limit and up to the last name, which is
// that of the last item now where it is empty.
func (s *Store) page(prefix, after, last string, limit int) (page []keystore.Item, end string, err error) {
	err = s.view(func(items *bbolt.Bucket) error {
		size, before, start := 0, after, []byte(max(prefix, after))
		c := items.Cursor()
		if end = last; end == "" {
			end = lastUnder(c, prefix)
		}
		for name, stored := c.Seek(start); name != nil && bytes.HasPrefix(name, []byte(prefix)) && string(name) <= end; name, stored = c.Next() {
			if string(name) == after {
				continue
			}
			if len(name) > keystore.MaxName || string(name) <= before { // going on might never end
				return fmt.Errorf("%w: a name is out of order", ErrDamaged)
			}
			before = string(name)
			item, err := decode(before, stored)
			if err != nil {
				return err
			}
			page = append(page, item)
			if size += len(stored); len(page) == limit || size >= pageBytes {
				break
			}
		}
		return nil
	})
	return page, end, err
}

// lastUnder returns the name of the last item under a prefix. No name has a byte beyond z.
func lastUnder(c *bbolt.Cursor, prefix string) string {
	behind, _ := c.Seek([]byte(prefix + "{"))
	if behind == nil {
		behind, _ = c.Last()
		return string(behind)
	}
	last, _ := c.Prev()
	return string(last)
}

// Changes implements keystore.Feed.
func (s *Store) Changes(ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if s.ended() {
		return nil, 0, keystore.ErrClosed
	}
	names, head, ok := s.ring.Changes(segment, uint64(after))
	if !ok {
		return nil, keystore.Cursor(head), keystore.ErrGap
	}
	return names, keystore.Cursor(head), nil
}

// Head implements keystore.Local.
func (s *Store) Head(segment string) func() keystore.Cursor {
	if s == nil {
		return func() keystore.Cursor { return 0 }
	}
	head := s.ring.Head(segment)
	return func() keystore.Cursor { return keystore.Cursor(head()) }
}

// Close ends the store and lets others open the file. It waits for the calls that run;
// what is called later is told keystore.ErrClosed, and so are writers that still queue.
// Closing again does nothing.
func (s *Store) Close() error {
	if s.ended() || s.closed.Swap(true) {
		return nil
	}
	s.ring.Close()
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	var why error
	if failed := s.failed.Load(); failed != nil {
		why = *failed
	}
	if err := giveUp(s.db, s.file, why); err != nil {
		return fmt.Errorf("boltstore: Close: %w", err)
	}
	return nil
}

// ended reports whether the Store was closed, or is one that Open did not return.
func (s *Store) ended() bool { return s == nil || s.db == nil || s.closed.Load() }

// view runs f on the items as they stand.
func (s *Store) view(f func(items *bbolt.Bucket) error) error {
	if s.ended() {
		return keystore.ErrClosed
	}
	if s.locked.Load() {
		return ErrDamaged
	}
	begun := false
	err := guarded(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			begun = true
			return within(tx, f)
		})
	})
	if !begun && errors.Is(err, ErrDamaged) {
		s.locked.Store(true)
		s.failed.Store(&err)
	}
	return told(err)
}

func within(tx *bbolt.Tx, f func(items *bbolt.Bucket) error) error {
	items := tx.Bucket(itemsBucket)
	if items == nil {
		return ErrDamaged
	}
	return f(items)
}

// told translates what bbolt says.
func told(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return keystore.ErrClosed
	}
	return err
}

func decode(name string, stored []byte) (keystore.Item, error) {
	if len(stored) < versionSize || len(stored) > versionSize+keystore.MaxValue {
		return keystore.Item{}, fmt.Errorf("%w: an item cannot have its size", ErrDamaged)
	}
	return keystore.Item{Name: name, Value: bytes.Clone(stored[versionSize:]), Version: versionOf(stored)}, nil
}

// versionOf returns the version of a stored item; nil is none.
func versionOf(stored []byte) keystore.Version {
	if len(stored) < versionSize {
		return ""
	}
	return keystore.Version(strconv.FormatUint(binary.BigEndian.Uint64(stored), 10))
}
