package boltstore

import (
	"os"
	"testing"

	"go.etcd.io/bbolt"
)

// HoldTurn keeps writers from committing until release is called.
func (s *Store) HoldTurn() (release func()) {
	s.turn <- struct{}{}
	return func() { <-s.turn }
}

// Queued is how many writers wait to be taken by a commit.
func (s *Store) Queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// Underlying is the file that bbolt has open.
func (s *Store) Underlying() *os.File { return s.file }

// Used is how many bytes of the file are in use. What follows was allocated ahead.
func (s *Store) Used(t *testing.T) (used int) {
	if err := s.db.View(func(tx *bbolt.Tx) error { used = int(tx.Size()); return nil }); err != nil {
		t.Fatal(err)
	}
	return used
}
