package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/keyhold/kms/keystore"
)

// ErrUnsure is Put's answer after the disk failed to confirm an earlier write. That write
// can be read, but may be gone after a power failure, and writing on could then harm what
// was there before it. Nothing is written until the file is opened again.
var ErrUnsure = errors.New("boltstore: the disk did not confirm a write")

// fill is how full a page is made before it is split. Names that grow with time are put
// at the end, where a page that was left room would never use it.
const fill = 0.95

// largestGroup is from how many puts on a commit waits for no more.
const largestGroup = 256

// A put is a call of Put that waits for its commit.
type put struct {
	name   string
	old    keystore.Version
	stored []byte        // as it will be, but for the version in front
	done   chan struct{} // closed when what follows is settled

	version  keystore.Version
	replaced bool // an item that was there has a new value
	err      error
}

// Put implements keystore.Store. Writers that call it at the same time share a commit, in
// the order in which they came: while one commit is written the next one gathers. If the
// commit fails, on a full disk say, they share its error, and a later Put may succeed.
// After ErrDamaged and ErrUnsure none does before the file is opened again. A
// writer whose ctx ends is taken out of the queue; what is being committed is written all
// the same.
func (s *Store) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if s.ended() {
		return "", keystore.ErrClosed
	}
	p := &put{name: name, old: old, stored: append(make([]byte, versionSize, versionSize+len(value)), value...),
		done: make(chan struct{})}
	s.mu.Lock()
	s.queue = append(s.queue, p)
	s.mu.Unlock()

	select {
	case <-p.done:
	case s.turn <- struct{}{}: // p is in the queue, or an earlier turn settled it
		select {
		case <-p.done:
		default:
			s.lead()
		}
		<-s.turn
		<-p.done
	case <-ctx.Done():
		s.withdraw(p)
		return "", ctx.Err()
	}
	return p.version, p.err
}

// withdraw takes p out of the queue, if no commit has taken it.
func (s *Store) withdraw(p *put) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := slices.Index(s.queue, p); at >= 0 {
		s.queue = slices.Delete(s.queue, at, at+1)
	}
}

// lead commits the whole queue and settles it. The caller has the turn.
func (s *Store) lead() {
	group := s.gather()
	err := s.commit(group)
	for _, p := range group {
		if p.replaced {
			s.ring.Replaced(p.name) // even if the commit failed: it may be seen all the same
		}
		if err != nil {
			p.version, p.err = "", err
		}
		close(p.done)
	}
}

// gather takes the queue when it has stopped growing: writers that the last commit let go
// come back at once if they have more to put, and need not wait for two commits then.
func (s *Store) gather() (group []*put) {
	for waiting := -1; ; {
		runtime.Gosched()
		s.mu.Lock()
		if group = s.queue; len(group) <= waiting || len(group) >= largestGroup {
			s.queue = nil
			s.mu.Unlock()
			return group
		}
		waiting = len(group)
		s.mu.Unlock()
	}
}

// commit writes a group in one transaction. Its error is every member's.
func (s *Store) commit(group []*put) error {
	if failed := s.failed.Load(); failed != nil {
		return fmt.Errorf("boltstore: Put: %w", *failed)
	}
	transaction := 0
	err := guarded(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			transaction = tx.ID()
			if err := checkWays(tx, treeOf(tx, s.file), group); err != nil {
				return err
			}
			return within(tx, func(items *bbolt.Bucket) error {
				items.FillPercent = fill
				for _, p := range group {
					if err := p.apply(items); err != nil {
						return err
					}
				}
				return nil
			})
		})
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrDamaged):
		s.failed.CompareAndSwap(nil, &err)
	case s.shows(transaction):
		err = fmt.Errorf("%w: %w", ErrUnsure, err)
		s.failed.CompareAndSwap(nil, &err)
	}
	return fmt.Errorf("boltstore: Put: %w", told(err))
}

// shows tells whether a transaction that failed can be read: its last step did, then, and
// all that went before is on the disk.
func (s *Store) shows(transaction int) bool {
	shows := false
	err := guarded(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			shows = tx.ID() == transaction
			return nil
		})
	})
	return shows || errors.Is(err, ErrDamaged)
}

// apply compares and swaps. What it returns ends the whole commit; a conflict does not.
func (p *put) apply(items *bbolt.Bucket) error {
	name := []byte(p.name)
	current := items.Get(name)
	if current != nil && len(current) < versionSize {
		return ErrDamaged
	}
	if versionOf(current) != p.old {
		p.err = keystore.ErrConflict
		return nil
	}
	sequence, err := items.NextSequence()
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint64(p.stored, sequence)
	if err := items.Put(name, p.stored); err != nil {
		return err
	}
	p.version, p.replaced = versionOf(p.stored), p.old != ""
	return nil
}
