package pgstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/pgtest"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/internal/storetest"
)

// TestAnswerLost: a Put whose answer is lost on the way is found to have been made, and is
// acknowledged; unless somebody has replaced the value since, for then nobody can tell.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	opts := newTable()
	near := open(t, server.DSN(server.Address()), opts)
	p := newProxy(t, server.Address())
	far := open(t, server.DSN(p.address(), "default_query_exec_mode=exec"), opts) // so that the proxy sees what is sent
	at := func(name string) keystore.Item {
		item, err := near.Get(t.Context(), name)
		if err != nil {
			require.ErrorIs(t, err, keystore.ErrNotFound)
		}
		return item
	}
	for _, replaced := range []bool{false, true} {
		for _, name := range []string{"key/a", "key/b"} {
			for range 3 { // it is created, and then replaced
				before := at(name)
				var version keystore.Version
				var err error
				put := make(chan struct{})
				p.set(muted)
				go func() {
					defer close(put)
					version, err = far.Put(t.Context(), name, before.Version, []byte("value"))
				}()
				storetest.Until(func() bool { return at(name).Version != before.Version })
				made := at(name)
				if replaced {
					_, err := near.Put(t.Context(), name, made.Version, []byte("other"))
					require.NoError(t, err)
				}
				p.set(renewed)
				<-put
				if replaced {
					require.Error(t, err)
					require.NotErrorIs(t, err, keystore.ErrConflict)
					require.Empty(t, version)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, made.Version, version)
				require.Equal(t, made, at(name), "it was made twice")
			}
		}
	}
}

// TestGoesOnAfterABreak: connections that broke while nobody used them are no error of the
// next call.
func TestGoesOnAfterABreak(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	p := newProxy(t, server.Address())
	s := open(t, server.DSN(p.address(), "pool_max_conns=8"), newTable())
	require.NoError(t, each(8, func(int) error { // all connections are in use
		_, err := s.Get(t.Context(), "key/a")
		if err == keystore.ErrNotFound {
			err = nil
		}
		return err
	}))
	version := keystore.Version("")
	for n := range 5 {
		p.set(renewed)
		switch n {
		case 0:
			_, err := s.Get(t.Context(), "key/a")
			require.ErrorIs(t, err, keystore.ErrNotFound)
		case 1:
			for _, err := range s.List(t.Context(), "", "") {
				require.NoError(t, err)
			}
		case 2:
			_, _, err := s.Changes(t.Context(), "key/", 0)
			require.ErrorIs(t, err, keystore.ErrGap)
		default:
			var err error
			version, err = s.Put(t.Context(), "key/a", version, nil)
			require.NoError(t, err)
		}
	}
}
