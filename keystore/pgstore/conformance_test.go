package pgstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/keystoretest"
	"github.com/keyhold/kms/keystore/pgstore"
)

// TestConformance: it keeps the contract of a key store, in every way in which statements
// can be sent.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "exec"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dsn := dsn(t, "default_query_exec_mode="+mode)
			tables := map[keystore.Store]*pgstore.Options{}
			begin := func(t *testing.T, opts *pgstore.Options) keystore.Store {
				s := open(t, dsn, opts)
				tables[s] = opts
				return s
			}
			keystoretest.Run(t, keystoretest.Driver{
				Open: func(t *testing.T) keystore.Store { return begin(t, newTable()) },
				Reopen: func(t *testing.T, s keystore.Store) keystore.Store {
					require.NoError(t, s.(*pgstore.Store).Close())
					return begin(t, tables[s])
				},
			})
		})
	}
}
