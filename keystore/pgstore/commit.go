package pgstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

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

// Put implements keystore.Store. Writers that call it at the same time share a statement
// and its commit. If that fails they share its error. A connection that breaks meanwhile
// does not leave the outcome open: every version is a new one, by which the Store knows a
// value as its own when it looks again. Only where that fails too, or where somebody has
// replaced the value since, is the outcome unknown.
//
// A writer whose ctx ends is taken out of the queue; what was sent may be written all the
// same.
func (s *Store) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	if strings.ContainsFunc(string(old), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", keystore.ErrConflict // no version of this package, and nothing for the server
	}
	p := &put{name: name, old: string(old), new: rand.Text(), value: slices.Clone(value), done: make(chan struct{})}
	if p.value == nil {
		p.value = []byte{}
	}
	l := s.lane(name, old)
	s.join(l, p)
	select {
	case <-p.done:
	case <-ctx.Done():
		l.withdraw(p)
		return "", ctx.Err()
	}
	if p.err != nil {
		return "", p.err
	}
	return keystore.Version(p.new), nil
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

// write writes a group and settles it.
func (s *Store) write(l *lane, g *group) {
	defer g.cancel()
	err := s.closing.Err()
	if err != nil {
		err = keystore.ErrClosed
	} else {
		err = s.swap(l, g)
	}
	for _, p := range g.puts {
		if err != nil {
			p.err = err
		}
		close(p.done)
	}
}

// swap sends a group until the server has answered, and gives every put its result.
func (s *Store) swap(l *lane, g *group) error {
	var unsure error // what broke an earlier attempt: it may have written, or write yet
	made := map[string]bool{}
	err := s.again(g.ctx, "Put", func(ctx context.Context) error {
		err := s.send(ctx, l, g, made)
		if err != nil && kindOf(err) == broken && wasSent(err) {
			unsure = err
		}
		return err
	})
	if err != nil {
		return err
	}
	if unsure != nil && len(made) < len(g.puts) {
		if err := s.again(g.ctx, "Put", func(ctx context.Context) error { return s.find(ctx, g, made) }); err != nil {
			return err
		}
	}
	for _, p := range g.puts {
		switch {
		case made[p.name]:
		case unsure != nil: // it stands at a version that is neither: anything may have been before
			p.err = fmt.Errorf("pgstore: Put: the outcome is unknown: %w", unsure)
		default:
			p.err = keystore.ErrConflict
		}
	}
	return nil
}

// send makes one attempt at a group, and notes what it wrote.
func (s *Store) send(ctx context.Context, l *lane, g *group, made map[string]bool) error {
	n := len(g.puts)
	names, olds, news, values := make([]string, n), make([]string, n), make([]string, n), make([][]byte, n)
	for i, p := range g.puts {
		names[i], olds[i], news[i], values[i] = p.name, p.old, p.new, p.value
	}
	var rows pgx.Rows
	var err error
	if l.creates {
		rows, err = s.pool.Query(ctx, s.sql.insert, names, news, values)
	} else {
		rows, err = s.pool.Query(ctx, s.sql.update, names, olds, news, values, l.segment, s.notes)
	}
	if err != nil {
		return err
	}
	defer rows.Close()
	clear(made)
	for rows.Next() {
		var name string
		into := []any{&name, nil}
		if err := rows.Scan(into[:len(rows.FieldDescriptions())]...); err != nil {
			return err
		}
		made[name] = true
	}
	return rows.Err() // nil when the commit was confirmed
}

// find notes which items stand at the versions of a group: an attempt that broke had
// written them.
func (s *Store) find(ctx context.Context, g *group, made map[string]bool) error {
	names, news := make([]string, len(g.puts)), map[string]string{}
	for i, p := range g.puts {
		names[i], news[p.name] = p.name, p.new
	}
	rows, err := s.pool.Query(ctx, s.sql.which, names)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name, version string
		if err := rows.Scan(&name, &version); err != nil {
			return err
		}
		made[name] = made[name] || news[name] == version
	}
	return rows.Err()
}
