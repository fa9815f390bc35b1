package pgstore_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/pgtest"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/pgstore"
)

// connect returns a connection for what a Store does not do.
func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	return conn
}

func execute(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)
	require.NoError(t, err, sql)
}

// TestOpenTogether: many that open a table for the first time at once all have the same.
func TestOpenTogether(t *testing.T) {
	t.Parallel()
	dsn := dsn(t, "pool_max_conns=2")
	for range 5 {
		opts := newTable()
		stores, errs := make([]*pgstore.Store, 12), make([]error, 12)
		var all sync.WaitGroup
		for i := range stores {
			all.Go(func() { stores[i], errs[i] = pgstore.Open(t.Context(), dsn, opts) })
		}
		all.Wait()
		for i, s := range stores {
			require.NoError(t, errs[i])
			if i == 0 {
				_, err := s.Put(t.Context(), "key/a", "", []byte("one"))
				require.NoError(t, err)
			}
			item, err := s.Get(t.Context(), "key/a")
			require.NoError(t, err)
			require.Equal(t, "one", string(item.Value))
			require.NoError(t, s.Close())
		}
	}
}

// TestNames: whatever a table or its schema is called, the name is a name and nothing else.
func TestNames(t *testing.T) {
	t.Parallel()
	conn := connect(t, dsn(t))
	execute(t, conn, `CREATE TABLE bystander (a int)`)
	for i, name := range []string{
		`plain`, `UPPER`, `with space`, `"`, `a"b`, `'; DROP TABLE bystander; --`, `"; DROP TABLE bystander; --`,
		`a.b`, `$1`, `%s`, `ключ`, `\`, "a\nb", strings.Repeat("n", 63), `TABLE_NAME`, `CHANNEL_NAME`,
	} {
		schema := fmt.Sprintf(`s"%d;`, i)
		execute(t, conn, `CREATE SCHEMA `+pgx.Identifier{schema}.Sanitize())
		for range 2 { // made, and found
			s := open(t, dsn(t, "pool_max_conns=2"), &pgstore.Options{Schema: schema, Table: name, Create: true})
			item, err := s.Get(t.Context(), "key/a")
			if err != nil {
				require.ErrorIs(t, err, keystore.ErrNotFound)
			}
			version, err := s.Put(t.Context(), "key/a", item.Version, []byte(name))
			require.NoError(t, err)
			_, err = s.Put(t.Context(), "key/a", version, []byte(name))
			require.NoError(t, err)
		}
		var tables []string
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT array_agg(tablename::text) FROM pg_tables WHERE schemaname = $1`, schema).Scan(&tables))
		require.Equal(t, []string{name}, tables, "one table, and it has the name")
	}
	execute(t, conn, `DROP TABLE bystander`)
}

// TestOpenRefuses: what could not keep the promises is refused by name, and nothing of a
// connection string is repeated.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	conn := connect(t, dsn(t))
	execute(t, conn, `CREATE TABLE foreign_shape (a int)`)
	execute(t, conn, `CREATE TABLE foreign_rows (name text, version text)`)
	newer := newTable()
	open(t, dsn(t), newer)
	execute(t, conn, `UPDATE `+pgx.Identifier{newer.Table}.Sanitize()+` SET version = 'keyhold 2' WHERE name = '#'`)
	for name, c := range map[string]struct {
		dsn  string
		opts *pgstore.Options
		want error
	}{
		"no connection string":    {"postgres://u:hunter2@:x:y/", nil, pgstore.ErrConfig},
		"no setting":              {dsn(t) + "&pool_max_conns=hunter2", nil, pgstore.ErrConfig},
		"no TLS setting":          {"host=127.0.0.1 password=hunter2 sslmode=perhaps", nil, pgstore.ErrConfig},
		"the simple protocol":     {dsn(t, "default_query_exec_mode=simple_protocol"), nil, pgstore.ErrConfig},
		"a name that is cut off":  {dsn(t), &pgstore.Options{Table: strings.Repeat("n", 64)}, pgstore.ErrConfig},
		"a name with a zero byte": {dsn(t), &pgstore.Options{Schema: "a\x00b"}, pgstore.ErrConfig},
		"a table of other shape":  {dsn(t), &pgstore.Options{Table: "foreign_shape"}, pgstore.ErrForeign},
		"a table of that shape":   {dsn(t), &pgstore.Options{Table: "foreign_rows"}, pgstore.ErrForeign},
		"a newer format":          {dsn(t), newer, pgstore.ErrForeign},
		"what is not durable":     {dsn(t, "synchronous_commit=off"), newTable(), pgstore.ErrNotDurable},
		"a password in a refusal": {strings.Replace(server.DSN("127.0.0.1:1"), "postgres@", "postgres:hunter2@", 1), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pgstore.Open(t.Context(), c.dsn, c.opts)
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// TestTLS: what the connection string says of TLS is done.
func TestTLS(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	at := "postgres://postgres@" + server.Address() + "/postgres?pool_max_conns=1&sslmode="
	s := open(t, at+"verify-full&sslrootcert="+server.Certificate(), newTable())
	_, err := s.Put(t.Context(), "key/a", "", nil)
	require.NoError(t, err)
	pool, err := pgxpool.New(t.Context(), at+"require")
	require.NoError(t, err)
	defer pool.Close()
	var encrypted bool
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`).Scan(&encrypted))
	require.True(t, encrypted)

	other := pgtest.New(t) // its certificate is another
	_, err = pgstore.Open(t.Context(), at+"verify-full&sslrootcert="+other.Certificate(), newTable())
	require.ErrorContains(t, err, "certificate")
	byName := strings.Replace(at, "127.0.0.1", "localhost", 1)
	_, err = pgstore.Open(t.Context(), byName+"verify-full&sslrootcert="+server.Certificate(), newTable())
	require.ErrorContains(t, err, "certificate")
}

// TestLeastRights: a role that may not make tables uses one that is there.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	conn, opts := connect(t, dsn(t)), newTable()
	execute(t, conn, `CREATE ROLE least LOGIN`)
	as := strings.Replace(dsn(t), "postgres@", "least@", 1)
	_, err := pgstore.Open(t.Context(), as, opts)
	require.ErrorContains(t, err, "42501", "it may not make the table")
	open(t, dsn(t), opts)
	execute(t, conn, `GRANT SELECT, INSERT, UPDATE ON `+pgx.Identifier{opts.Table}.Sanitize()+` TO least`)
	s := open(t, as, opts)
	version, err := s.Put(t.Context(), "key/a", "", []byte("one"))
	require.NoError(t, err)
	_, head, err := s.Changes(t.Context(), "key/", 0)
	require.ErrorIs(t, err, keystore.ErrGap, "a position of another primary")
	_, err = s.Put(t.Context(), "key/a", version, []byte("two"))
	require.NoError(t, err)
	names, _, err := s.Changes(t.Context(), "key/", head)
	require.NoError(t, err)
	require.Equal(t, []string{"key/a"}, names)
}

// TestPoolGiven: a pool that was given is used, and left open.
func TestPoolGiven(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig(dsn(t, "pool_max_conns=3"))
	require.NoError(t, err)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer pool.Close()
	s, err := pgstore.OpenPool(t.Context(), pool, newTable())
	require.NoError(t, err)
	_, err = s.Put(t.Context(), "key/a", "", nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.NoError(t, pool.Ping(t.Context()))
}

// TestOpenEnds: nobody answers, and Open ends with its context all the same.
func TestOpenEnds(t *testing.T) {
	t.Parallel()
	p := newProxy(t, pgtest.Shared(t).Address())
	p.set(stalled)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := pgstore.Open(ctx, pgtest.Shared(t).DSN(p.address()), nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(begun), 300*time.Millisecond+faultGrace)
}

func Example() {
	ctx := context.Background()
	store, err := pgstore.Open(ctx, os.Getenv("DATABASE_URL"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	// kms.Open(ctx, kms.Config{Store: store, …})
}
