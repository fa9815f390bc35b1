// Package logstore is a key store of one's own, as an example of how to write one: a file
// to which items are only ever added, and a map of what is current.
//
// It is good for a few thousand keys that seldom change, where a file that can be followed
// by eye and needs no other module is worth something. It is not good for more: all items
// are in memory, opening reads the whole file, the file never gets smaller, and every Put
// waits for the disk alone. It is for one process. A second one is found out when either of
// them writes, and not before; boltstore locks its file.
package logstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/keyhold/kms/keystore"
)

// What a Store answers besides what package keystore says.
var (
	// ErrDamaged: the file is not as a Store wrote it. Nothing was changed in it.
	ErrDamaged = errors.New("logstore: the file is damaged, or another program's")

	// ErrShared: the file grew, and this Store did not write that.
	ErrShared = errors.New("logstore: somebody else writes the file")
)

// Store is a keystore.Store in a file. Open makes one.
type Store struct {
	mu     sync.RWMutex
	file   *os.File
	size   int64 // of the file
	items  map[string]keystore.Item
	closed bool
	failed error // after a write that failed nobody knows what the file holds
}

var _ keystore.Store = (*Store)(nil)

// Open opens the file at path. Where there is none it is fs.ErrNotExist.
func Open(path string) (*Store, error) {
	return open(path, 0)
}

// Create makes the file of a new Store, with mode 0600, and opens it. A file that exists is fs.ErrExist.
func Create(path string) (*Store, error) {
	return open(path, os.O_CREATE|os.O_EXCL)
}

func open(path string, flag int) (*Store, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|flag, 0o600)
	if err != nil {
		return nil, fmt.Errorf("logstore: opening: %w", err)
	}
	s := &Store{file: file, items: map[string]keystore.Item{}}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("logstore: opening %s: %w", path, err), file.Close())
	}
	// The name of a new file has to last as well. Windows sees to that itself, and does
	// not open folders.
	if folder, err := os.Open(filepath.Dir(path)); err == nil {
		_ = folder.Sync()
		folder.Close()
	}
	return s, nil
}

// Close closes the file. What was put stays.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.file.Close()
}

// usable is asked with the lock held.
func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return keystore.ErrClosed
	}
	return ctx.Err()
}

// Get implements keystore.Store.
func (s *Store) Get(ctx context.Context, name string) (keystore.Item, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return keystore.Item{}, err
	}
	item, ok := s.items[name]
	if !ok {
		return keystore.Item{}, keystore.ErrNotFound
	}
	item.Value = bytes.Clone(item.Value) // it is the caller's
	return item, nil
}

// Put implements keystore.Store. The version of an item is where in the file it begins: no
// place is used twice.
func (s *Store) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	s.mu.Lock() // over the comparison and the swap
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return "", err
	}
	if s.failed != nil {
		return "", s.failed
	}
	if s.items[name].Version != old {
		return "", keystore.ErrConflict
	}
	at := s.size
	if err := s.append(name, value); err != nil {
		s.failed = fmt.Errorf("logstore: writing, so that it has to be opened anew: %w", err)
		return "", s.failed
	}
	s.keep(at, name, value)
	return s.items[name].Version, nil
}

func (s *Store) keep(at int64, name string, value []byte) {
	s.items[name] = keystore.Item{Name: name, Value: bytes.Clone(value), Version: keystore.Version(strconv.FormatInt(at, 10))}
}

// List implements keystore.Store. No item ever goes, so that the names at the beginning are
// all that has to be remembered.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	return func(yield func(keystore.Item, error) bool) {
		s.mu.RLock()
		err := s.usable(ctx)
		names := slices.Sorted(maps.Keys(s.items))
		s.mu.RUnlock() // the loop may call the Store
		if err != nil {
			yield(keystore.Item{}, err)
			return
		}
		for _, name := range names {
			if !strings.HasPrefix(name, prefix) || name <= after {
				continue
			}
			item, err := s.Get(ctx, name)
			if !yield(item, err) || err != nil {
				return
			}
		}
	}
}
