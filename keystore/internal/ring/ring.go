// Package ring remembers which names were replaced lately, for stores that one process
// owns.
package ring

import (
	"strings"
	"sync"
	"sync/atomic"
)

// size is how many replacements a segment remembers.
const size = 1024

// Ring is the memory of all segments of a store. The zero Ring is ready.
type Ring struct {
	mu       sync.Mutex
	segments map[string]*segment
}

type segment struct {
	head atomic.Uint64
	mu   sync.Mutex
	last [size]string
}

// Replaced notes that the value of name was replaced. Call it when the new value can be
// read, and before anybody is told that it was put. The segment of a name is what it has
// up to its first slash, with it; that of a name without one is empty.
func (r *Ring) Replaced(name string) {
	slash := strings.IndexByte(name, '/')
	s := r.segment(name[:slash+1])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[s.head.Load()%size] = name
	s.head.Add(1)
}

// Close moves the newest position of every segment, so that whoever keeps what he read asks
// the store again, and learns that it is closed.
func (r *Ring) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.segments {
		s.mu.Lock()
		s.head.Add(size + 1)
		s.mu.Unlock()
	}
}

// Head returns the function that tells the newest position of a segment: one atomic load.
func (r *Ring) Head(segment string) func() uint64 { return r.segment(segment).head.Load }

// Changes returns the names replaced after a position and the newest position; ok is
// false where it does not reach back that far, or the position is yet to come.
func (r *Ring) Changes(segment string, after uint64) (names []string, head uint64, ok bool) {
	s := r.segment(segment)
	if head = s.head.Load(); head == after {
		return nil, head, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	head = s.head.Load()
	if after > head || head-after > size {
		return nil, head, false
	}
	for at := after; at < head; at++ {
		names = append(names, s.last[at%size])
	}
	return names, head, true
}

func (r *Ring) segment(name string) *segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.segments[name]
	if s == nil {
		s = &segment{}
		if r.segments == nil {
			r.segments = map[string]*segment{}
		}
		r.segments[name] = s
	}
	return s
}
