package pgstore_test

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/pgtest"
	"github.com/keyhold/kms/keystore/pgstore"
)

// newTable returns the Options of a table that nobody has.
func newTable() *pgstore.Options { return &pgstore.Options{Table: "t" + rand.Text(), Create: true} }

func open(t testing.TB, dsn string, opts *pgstore.Options) *pgstore.Store {
	t.Helper()
	s, err := pgstore.Open(t.Context(), dsn, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func dsn(t testing.TB, settings ...string) string {
	server := pgtest.Shared(t)
	return server.DSN(server.Address(), settings...)
}

// rootKey guards nothing.
var rootKey = []byte("a root key of thirty-two bytes..")
