package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyhold/kms/keystore"
)

// Options are what may be chosen about a Store. Nil and the zero Options are the defaults.
type Options struct {
	// Schema is where the table is. It must exist. Empty is what search_path says.
	Schema string

	// Table is the name of the table. Empty is "keyhold".
	Table string

	// Create has Open make the table where there is none. Without it a name that is mistyped is
	// ErrNoTable, and not an empty store.
	Create bool

	// Timeout is how long the server may take to answer a statement. After that the
	// connection is given up and another is tried, as long as the caller waits. 0 is 5 s.
	Timeout time.Duration
}

func (o *Options) table() pgx.Identifier {
	name := pgx.Identifier{"keyhold"}
	if o == nil {
		return name
	}
	if o.Table != "" {
		name[0] = o.Table
	}
	if o.Schema != "" {
		name = append(pgx.Identifier{o.Schema}, name...)
	}
	return name
}

func (o *Options) timeout() time.Duration {
	if o == nil || o.Timeout <= 0 {
		return 5 * time.Second
	}
	return o.Timeout
}

// largestMessage is more than any that a server has to send. One that says it has more is
// believed no further.
const largestMessage = 4 * keystore.MaxValue

// Open connects to a database and opens the table there. Where there is none it is ErrNoTable, or with
// Options.Create a new table; any number of processes may do so at once. Dsn is a connection string as libpq knows them, a URL or
// pairs, with the settings of pgx and pgxpool. TLS is as it says: without sslmode an
// attacker on the network can have it left away, so ask for sslmode=verify-full. Where
// connect_timeout is not set it is 2 s.
//
// A role that may not create tables can use one that exists: it needs SELECT, INSERT and
// UPDATE.
func Open(ctx context.Context, dsn string, opts *Options) (*Store, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil { // its text may hold the password
		return nil, fmt.Errorf("pgstore: Open: %w", ErrConfig)
	}
	if config.ConnConfig.ConnectTimeout <= 0 || config.ConnConfig.ConnectTimeout >= 2*time.Minute {
		config.ConnConfig.ConnectTimeout = 2 * time.Second
	}
	config.PingTimeout = silence
	config.ConnConfig.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		f := pgproto3.NewFrontend(r, w)
		f.SetMaxBodyLen(largestMessage)
		return f
	}
	if err := usable(config, opts); err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, told("Open", err)
	}
	return open(ctx, pool, config, opts)
}

// OpenPool is Open with connections that the caller has, and closes after the Store. The
// pool must use the extended protocol. Where a network swallows what is sent, such a pool
// needs 15 s to give up a connection, and has no other in its place meanwhile; a Store of
// Open replaces the whole pool.
func OpenPool(ctx context.Context, pool *pgxpool.Pool, opts *Options) (*Store, error) {
	if pool == nil {
		return nil, fmt.Errorf("pgstore: OpenPool: a pool is required: %w", ErrConfig)
	}
	if err := usable(pool.Config(), opts); err != nil {
		return nil, err
	}
	return open(ctx, pool, nil, opts)
}

// usable tells whether connections and names are what they must be.
func usable(config *pgxpool.Config, opts *Options) error {
	bad := config.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol
	for _, part := range opts.table() {
		bad = bad || len(part) > 63 || strings.ContainsRune(part, 0) // a longer one is cut off, and could be another's
	}
	if bad {
		return fmt.Errorf("pgstore: Open: %w", ErrConfig)
	}
	return nil
}

// open opens a Store. Own is the configuration of a pool that the Store closes.
func open(ctx context.Context, pool *pgxpool.Pool, own *pgxpool.Config, opts *Options) (*Store, error) {
	table := opts.table()
	s := &Store{own: own, limit: opts.timeout(), creates: lane{creates: true}, lanes: map[string]*lane{}}
	s.pool.Store(pool)
	s.closing, s.close = context.WithCancel(context.Background())
	s.sql = statementsFor(table, "", false)
	steps := []func(context.Context) error{
		s.examine,
		func(ctx context.Context) error { return s.prepare(ctx, opts != nil && opts.Create) },
		func(ctx context.Context) error { return s.learn(ctx, table) },
	}
	for _, step := range steps {
		if err := s.again(ctx, "Open", step); err != nil {
			go s.Close() // which may have to wait for a connection that is being made
			return nil, err
		}
	}
	return s, nil
}

// examine refuses a server that could not keep what a Store promises.
func (s *Store) examine(ctx context.Context) error {
	var standby, lossy bool
	const sql = `SELECT pg_is_in_recovery(), current_setting('fsync', true) = 'off' OR current_setting('synchronous_commit', true) = 'off'`
	if err := s.pool.Load().QueryRow(ctx, sql).Scan(&standby, &lossy); err != nil {
		return err
	}
	switch {
	case standby:
		return ErrStandby
	case lossy:
		return ErrNotDurable
	}
	return nil
}

// lock is the number of the advisory lock under which tables are made.
const lock = "7739272618411519076"

// prepare looks whether the table is one of this package, and makes it if it may. All processes of
// a database make theirs one after the other.
func (s *Store) prepare(ctx context.Context, create bool) error {
	err := s.recognize(ctx)
	switch {
	case !isCode(err, "42P01"): // undefined_table
		return err
	case !create:
		return ErrNoTable
	}
	conn, err := s.pool.Load().Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	together := &pgconn.Batch{} // what is sent together is one transaction
	for _, statement := range []struct {
		sql  string
		args [][]byte
	}{
		{`SELECT pg_advisory_xact_lock($1::bigint)`, [][]byte{[]byte(lock)}},
		{s.sql.create, nil},
		{s.sql.index, nil},
		{s.sql.begin, [][]byte{[]byte(about), []byte(format)}},
	} {
		together.ExecParams(statement.sql, statement.args, nil, nil, nil)
	}
	_, err = conn.Conn().PgConn().ExecBatch(ctx, together).ReadAll()
	if err != nil && !isCode(err, "42P07") { // duplicate_table: somebody was quicker
		return err
	}
	return s.recognize(ctx)
}

// recognize tells whether the table is there and one of this package.
func (s *Store) recognize(ctx context.Context) error {
	var found string
	switch err := s.pool.Load().QueryRow(ctx, s.sql.probe, about).Scan(&found); {
	case errors.Is(err, pgx.ErrNoRows), isCode(err, "42703"), isCode(err, "42883"): // undefined column, operator
		return ErrForeign
	case err != nil:
		return err
	case found != format:
		return ErrForeign
	}
	return nil
}

// learn asks what the server can do.
func (s *Store) learn(ctx context.Context, table pgx.Identifier) error {
	var id uint32
	var notes, timelines bool
	const sql = `SELECT $1::text::regclass::oid, EXISTS (SELECT FROM pg_proc WHERE proname = 'pg_notify'),
		EXISTS (SELECT FROM pg_proc WHERE proname = 'pg_walfile_name')`
	if err := s.pool.Load().QueryRow(ctx, sql, table.Sanitize()).Scan(&id, &notes, &timelines); err != nil {
		return err
	}
	if notes {
		s.notes = fmt.Sprintf("keyhold_%d", id)
	}
	s.sql = statementsFor(table, s.notes, timelines)
	return nil
}
