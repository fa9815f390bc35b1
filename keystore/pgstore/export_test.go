package pgstore

import "runtime"

// HoldLane keeps writers of a segment, or those who create where it is "+", in their queue
// until release is called.
func (s *Store) HoldLane(segment string) (queued func() int, release func()) {
	l := &s.creates
	if segment != "+" {
		l = s.lane(segment, "some")
	}
	l.mu.Lock()
	for l.busy {
		l.mu.Unlock()
		runtime.Gosched()
		l.mu.Lock()
	}
	l.busy = true
	l.mu.Unlock()
	queued = func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.queue)
	}
	return queued, func() {
		s.calls.Add(1)
		go func() {
			defer s.calls.Done()
			s.lead(l)
		}()
	}
}
