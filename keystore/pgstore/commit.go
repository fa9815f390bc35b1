package pgstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/keyhold/kms/keystore"
)

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
	switch {
	case l.creates && n == 1:
		rows, err = s.pool.Load().Query(ctx, s.sql.insertOne, names[0], news[0], values[0])
	case l.creates:
		rows, err = s.pool.Load().Query(ctx, s.sql.insert, names, news, values)
	default:
		rows, err = s.pool.Load().Query(ctx, s.sql.update, names, olds, news, values, l.segment, s.notes)
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
	rows, err := s.pool.Load().Query(ctx, s.sql.which, names)
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
