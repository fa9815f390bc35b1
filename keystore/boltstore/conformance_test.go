package boltstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/keystore/keystoretest"
)

// TestConformance: it keeps the contract of a key store, across restarts too.
func TestConformance(t *testing.T) {
	paths := map[keystore.Store]string{}
	open := func(t *testing.T, path string) keystore.Store {
		s, err := boltstore.Open(path, &boltstore.Options{Create: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		paths[s] = path
		return s
	}
	keystoretest.Run(t, keystoretest.Driver{
		Open: func(t *testing.T) keystore.Store { return open(t, newPath(t)) },
		Reopen: func(t *testing.T, s keystore.Store) keystore.Store {
			require.NoError(t, s.(*boltstore.Store).Close())
			return open(t, paths[s])
		},
	})
}
