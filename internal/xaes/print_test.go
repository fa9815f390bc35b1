package xaes_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/leaktest"
	"github.com/keyhold/kms/internal/xaes"
)

// TestNothingPrintsTheKey prints a Key in every way, alone and inside other values, and
// looks for the key's bytes.
func TestNothingPrintsTheKey(t *testing.T) {
	t.Parallel()
	canary := randomBytes(t, xaes.KeySize)
	k, err := xaes.New(canary)
	require.NoError(t, err)

	for name, v := range map[string]any{
		"pointer": k,
		"value":   *k,
		"inside":  struct{ key *xaes.Key }{k},
		"slice":   []xaes.Key{*k},
		"map":     map[string]any{"k": *k},
	} {
		require.Empty(t, leaktest.Found(v, canary), "%s shows the key's bytes", name)
	}
}
