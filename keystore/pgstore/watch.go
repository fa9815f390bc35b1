package pgstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyhold/kms/keystore"
)

// Watch implements keystore.Watcher, by LISTEN on a connection of its own.
func (s *Store) Watch(ctx context.Context, moved func(segment string)) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if moved == nil {
		moved = func(string) {}
	}
	if s.notes == "" {
		return errors.ErrUnsupported
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	err = s.watch(ctx, moved)
	if s.closing.Err() != nil {
		return keystore.ErrClosed
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return told("Watch", err)
}

func (s *Store) watch(ctx context.Context, moved func(segment string)) error {
	var conn *pgx.Conn
	err := s.once(ctx, func(ctx context.Context) error {
		pooled, err := s.pool.Load().Acquire(ctx)
		if err != nil {
			return err
		}
		conn = pooled.Hijack()
		return run(ctx, conn, s.sql.listen)
	})
	if conn != nil {
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limit)
			defer cancel()
			_ = conn.Close(ctx)
		}()
	}
	if err != nil {
		return err
	}
	for {
		note, err := s.next(ctx, conn)
		switch {
		case err != nil:
			return err
		case note != nil:
			moved(note.Payload)
		default: // nothing came for a while: is anybody there?
			if err := s.once(ctx, func(ctx context.Context) error { return run(ctx, conn, `SELECT 1`) }); err != nil {
				return err
			}
		}
	}
}

// run runs a statement without parameters. Exec would use the simple protocol for it.
func run(ctx context.Context, conn *pgx.Conn, sql string) error {
	rows, err := conn.Query(ctx, sql, pgx.QueryExecModeExec)
	if err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}

// quiet is how long a connection that listens may hear nothing before it is asked whether
// it is still there.
const quiet = 10 * time.Second

// next waits for a notification; it is nil when it was quiet.
func (s *Store) next(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	short, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	note, err := conn.WaitForNotification(short)
	if err != nil && ctx.Err() == nil && errors.Is(short.Err(), context.DeadlineExceeded) && !conn.IsClosed() {
		return nil, nil
	}
	return note, err
}
