package boltstore

import "os"

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
