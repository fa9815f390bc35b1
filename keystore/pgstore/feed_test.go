package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/pgtest"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/internal/storetest"
	"github.com/keyhold/kms/keystore/pgstore"
)

// TestFeedReachesBack: a follower that slept is told each name once, up to 1024 of them;
// after more there is a gap. The table has no row more for it.
func TestFeedReachesBack(t *testing.T) {
	t.Parallel()
	const names = 1025
	conn, opts := connect(t, dsn(t)), newTable()
	s := open(t, dsn(t), opts)
	versions := make([]keystore.Version, names)
	put := func(n int) {
		for i, r := range group(s, map[bool]string{true: "+", false: "key/"}[versions[0] == ""], n, func(i int) (keystore.Version, error) {
			return s.Put(t.Context(), fmt.Sprintf("key/%04d", i), versions[i], nil)
		}) {
			require.NoError(t, r.Err)
			versions[i] = r.Version
		}
	}
	put(names)
	_, start, _ := s.Changes(t.Context(), "key/", 0)
	for range 3 {
		put(names - 1)
	}
	changed, head, err := s.Changes(t.Context(), "key/", start)
	require.NoError(t, err)
	require.Len(t, changed, names-1)
	put(names)
	_, next, err := s.Changes(t.Context(), "key/", start)
	require.ErrorIs(t, err, keystore.ErrGap)
	require.Greater(t, next, head)

	var rows int
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM `+pgx.Identifier{opts.Table}.Sanitize()).Scan(&rows))
	require.Equal(t, names+2, rows, "the items, one row for the feed and one about the table")
}

// TestWatch: those who watch are told of what others replaced, in their table and no
// other, and of no create; and watching ends with its context and with the store.
func TestWatch(t *testing.T) {
	t.Parallel()
	opts := newTable()
	s, other, elsewhere := open(t, dsn(t), opts), open(t, dsn(t), opts), open(t, dsn(t), newTable())
	ctx, cancel := context.WithCancel(t.Context())
	moved, ended := make(chan string, 100), make(chan error)
	go func() { ended <- s.Watch(ctx, func(segment string) { moved <- segment }) }()
	conn := connect(t, dsn(t))
	storetest.Until(func() bool { return listeners(t, conn, opts) == 1 })
	for _, name := range []string{"usage/a", "key/a", "plain"} {
		for _, in := range []*pgstore.Store{elsewhere, other} {
			version, err := in.Put(t.Context(), name, "", nil)
			require.NoError(t, err)
			_, err = in.Put(t.Context(), name, version, nil)
			require.NoError(t, err)
		}
	}
	for _, want := range []string{"usage/", "key/", ""} {
		require.Equal(t, want, <-moved)
	}
	require.Empty(t, moved)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)

	go func() { ended <- s.Watch(t.Context(), func(string) {}) }()
	storetest.Until(func() bool { return listeners(t, conn, opts) == 1 })
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-ended, keystore.ErrClosed)
	storetest.Until(func() bool { return listeners(t, conn, opts) == 0 })
}

// listeners counts the connections that listen to a table.
func listeners(t *testing.T, conn *pgx.Conn, opts *pgstore.Options) (n int) {
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
		WHERE query = 'LISTEN "keyhold_' || $1::regclass::oid || '"' AND state = 'idle'`, pgx.Identifier{opts.Table}.Sanitize()).Scan(&n))
	return n
}

// TestStandby: nothing is read from a standby. Once it is the primary it serves, and no
// position of before is good there.
func TestStandby(t *testing.T) {
	t.Parallel()
	server := pgtest.New(t)
	opts := newTable()
	first := open(t, server.DSN(server.Address()), opts)
	version, err := first.Put(t.Context(), "key/a", "", nil)
	require.NoError(t, err)
	version, err = first.Put(t.Context(), "key/a", version, []byte("before"))
	require.NoError(t, err)

	standby := server.Standby(t)
	p := newProxy(t, server.Address())
	s := open(t, server.DSN(p.address()), opts)
	_, before, err := s.Changes(t.Context(), "key/", 0)
	require.ErrorIs(t, err, keystore.ErrGap)

	_, err = pgstore.Open(t.Context(), standby.DSN(standby.Address()), opts)
	require.ErrorIs(t, err, pgstore.ErrStandby)
	p.lead(standby.Address())
	_, err = s.Get(t.Context(), "key/a")
	require.ErrorIs(t, err, pgstore.ErrStandby)
	_, err = s.Get(t.Context(), "key/none")
	require.ErrorIs(t, err, pgstore.ErrStandby)
	_, err = s.Put(t.Context(), "key/a", version, nil)
	require.ErrorIs(t, err, pgstore.ErrStandby)
	_, err = s.Put(t.Context(), "key/new", "", nil)
	require.ErrorIs(t, err, pgstore.ErrStandby)
	_, _, err = s.Changes(t.Context(), "key/", before)
	require.ErrorIs(t, err, pgstore.ErrStandby)
	for _, prefix := range []string{"", "none/"} {
		err = nil
		for _, err = range s.List(t.Context(), prefix, "") {
		}
		require.ErrorIs(t, err, pgstore.ErrStandby)
	}
	require.False(t, errors.Is(s.Watch(t.Context(), func(string) {}), context.Canceled), "it ends by itself")

	storetest.Until(func() bool { // the standby has it all
		var there bool
		err := connect(t, standby.DSN(standby.Address())).QueryRow(t.Context(),
			`SELECT value = 'before' FROM `+pgx.Identifier{opts.Table}.Sanitize()+` WHERE name = 'key/a'`).Scan(&there)
		return err == nil && there
	})
	standby.Promote(t)
	item, err := s.Get(t.Context(), "key/a")
	require.NoError(t, err)
	require.Equal(t, keystore.Item{Name: "key/a", Value: []byte("before"), Version: version}, item)
	_, after, err := s.Changes(t.Context(), "key/", before)
	require.ErrorIs(t, err, keystore.ErrGap, "the same number, and another primary's")
	require.Greater(t, after, before)
	names, _, err := s.Changes(t.Context(), "key/", after)
	require.NoError(t, err)
	require.Empty(t, names)
}
