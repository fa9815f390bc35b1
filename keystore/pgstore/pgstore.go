// Package pgstore keeps the records of a key management service in one table of a
// PostgreSQL database, where many processes share them. It is a driver for package
// keystore; programs open it and pass it on. It takes no part in what the values mean,
// and encrypts nothing.
//
// PostgreSQL 14 or newer. Open makes the table. A Put is durable when it returns, on the
// server that took it: what a failover to a standby that lags behind loses is lost, unless
// synchronous_standby_names is set. Nothing is ever read from a standby.
//
// # The table
//
// It has a row for each item, with the value, its version, and, once the value was
// replaced, its position in the feed of its first path segment. A row for each feed has
// the newest position, under a name that no item can have: "+" and the segment. So the
// feed needs no room that grows, and a copy of the table is whole. After a dump was restored,
// start the processes anew: positions that they know may mean something else there.
//
// # Poolers
//
// Every statement is a transaction by itself and uses the extended protocol. A pooler in
// transaction mode (PgBouncer) may stand in between; one that knows no prepared statements
// needs default_query_exec_mode=exec in the connection string. LISTEN does not work
// through one, and then changes are found by polling alone.
//
// # CockroachDB
//
// This is untested. What is known to differ: there is no NOTIFY, so that changes are found
// by polling alone; there is no timeline, so that positions do not tell one primary from
// another; advisory locks lock nothing, so that the first Open should be one process's; and the
// setting sql.multiple_modifications_of_table.enabled must be true. Its transactions are
// serializable, and what fails to be is tried again.
package pgstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyhold/kms/keystore"
)

// Store is a keystore.Store in a PostgreSQL table, for many processes at once. Open and
// OpenPool make one.
type Store struct {
	pool  atomic.Pointer[pgxpool.Pool]
	own   *pgxpool.Config // of the pool; nil: it is somebody else's
	sql   statements
	notes string // the channel of NOTIFY; empty: the server has none
	limit time.Duration

	closing context.Context // ends when Close begins
	close   context.CancelFunc
	mu      sync.Mutex // over closed, and Add of calls
	closed  bool
	calls   sync.WaitGroup // that run

	lanesMu sync.Mutex
	lanes   map[string]*lane // by segment; creates share the one of ""
	creates lane
}

var (
	_ keystore.Store   = (*Store)(nil)
	_ keystore.Feed    = (*Store)(nil)
	_ keystore.Watcher = (*Store)(nil)
)

// Close ends the store, and its connections unless OpenPool was given them. What is called
// later is told keystore.ErrClosed, and so are writers that still queue. It waits for the
// calls that run. Closing again does nothing.
func (s *Store) Close() error {
	if s == nil || s.close == nil {
		return nil
	}
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.close()
	s.calls.Wait()
	if s.own != nil {
		s.pool.Load().Close()
	}
	return nil
}

// enter is called when a call begins, and leave when it ends.
func (s *Store) enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s == nil || s.close == nil { // not one that Open returned
		return nil, keystore.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, keystore.ErrClosed
	}
	s.calls.Add(1)
	return s.calls.Done, nil
}

// pauses are before each attempt to send a statement; after the last its error is the
// caller's. A connection that broke is found out by the first that uses it, so the second
// attempt comes at once.
var pauses = [...]time.Duration{0, 0, 20 * time.Millisecond, 100 * time.Millisecond}

// again runs f, which sends one statement that may be sent again, until it succeeds or
// there is no hope. An attempt that the server does not answer in time is given up with
// its connection.
func (s *Store) again(ctx context.Context, what string, f func(ctx context.Context) error) error {
	var err error
	for n, pause := range pauses {
		if pause > 0 {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return told(what, ctx.Err())
			}
		}
		begun, pool := time.Now(), s.pool.Load()
		if err = s.once(ctx, f); err == nil {
			return nil
		}
		unanswered := errors.Is(err, context.DeadlineExceeded)
		if unanswered && time.Since(begun) > silence || !unanswered && n == 0 && kindOf(err) == broken {
			s.renew(pool)
		}
		if ctx.Err() != nil {
			return told(what, ctx.Err())
		}
		if kindOf(err) == refused || unanswered && n > 0 {
			break
		}
	}
	return told(what, err)
}

// silence is how long a server may say nothing before its connections are doubted.
const silence = time.Second

// renew replaces a pool, unless somebody was quicker: where one connection is broken, or
// its server silent, the others most likely are, too, and each would be found out at
// somebody's cost. What is left of the old pool takes its time to close.
func (s *Store) renew(old *pgxpool.Pool) {
	if s.own == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.pool.Load() != old {
		return
	}
	if pool, err := pgxpool.NewWithConfig(context.Background(), s.own.Copy()); err == nil {
		s.pool.Store(pool)
		go old.Close()
	}
}

func (s *Store) once(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	return f(ctx)
}
