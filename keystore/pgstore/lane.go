package pgstore

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/keyhold/kms/keystore"
)

// Bounds of a group: from how many puts, or bytes of values, on it waits for no more.
const (
	largestGroup = 256
	groupBytes   = 4 << 20
)

// A lane is where writers gather that can share a statement: those who create items, and
// those who replace values of one segment. While one group is written the next gathers.
type lane struct {
	segment string // of those who replace
	creates bool

	mu    sync.Mutex
	queue []*put
	busy  bool // a group is being written, and its goroutine will take the next
}

// A put is a call of Put that waits for its group.
type put struct {
	name     string
	old, new string // versions
	value    []byte
	group    *group        // that took it
	done     chan struct{} // closed when err is settled
	err      error
}

// A group is what one statement writes.
type group struct {
	puts    []*put
	waiting int // how many callers have not given up
	ctx     context.Context
	cancel  context.CancelFunc // when all have
}

func (s *Store) lane(name string, old keystore.Version) *lane {
	if old == "" {
		return &s.creates
	}
	segment := name[:strings.IndexByte(name, '/')+1]
	s.lanesMu.Lock()
	defer s.lanesMu.Unlock()
	l := s.lanes[segment]
	if l == nil {
		l = &lane{segment: segment}
		s.lanes[segment] = l
	}
	return l
}

// join puts p into the queue, and starts a goroutine if none will take it. That ends when
// the queue is empty, and the call of every member before it.
func (s *Store) join(l *lane, p *put) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, p)
	if !l.busy {
		l.busy = true
		s.calls.Add(1) // the caller is in a call, so the count is not 0
		go func() {
			defer s.calls.Done()
			s.lead(l)
		}()
	}
}

// lead writes what gathers until nothing does.
func (s *Store) lead(l *lane) {
	for g := l.gather(); g != nil; g = l.gather() {
		s.write(l, g)
	}
}

// withdraw is called by the writer of p when it gives up.
func (l *lane) withdraw(p *put) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.group == nil {
		l.queue = slices.DeleteFunc(l.queue, func(q *put) bool { return q == p })
		return
	}
	if p.group.waiting--; p.group.waiting == 0 {
		p.group.cancel()
	}
}

// gather takes the queue when it has stopped growing, or as much of it as fits; nil: it is
// empty. Writers that the last group let go come back at once if they have more to put, and
// need not wait for two groups then. Of those that put the same name one is taken: the
// others need to see what became of it.
func (l *lane) gather() *group {
	for waiting := -1; ; {
		runtime.Gosched()
		l.mu.Lock()
		if len(l.queue) <= waiting || len(l.queue) >= largestGroup {
			break
		}
		waiting = len(l.queue)
		l.mu.Unlock()
	}
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.busy = false
		return nil
	}
	g := &group{}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	names, bytes := map[string]bool{}, 0
	var rest []*put
	for _, p := range l.queue {
		if names[p.name] || len(g.puts) == largestGroup || bytes > 0 && bytes+len(p.value) > groupBytes {
			rest = append(rest, p)
			continue
		}
		names[p.name], p.group = true, g
		bytes += len(p.value)
		g.puts = append(g.puts, p)
	}
	l.queue, g.waiting = rest, len(g.puts)
	slices.SortFunc(g.puts, func(a, b *put) int { return strings.Compare(a.name, b.name) })
	return g
}
