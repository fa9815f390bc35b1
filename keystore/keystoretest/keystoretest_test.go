package keystoretest_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/keystoretest"
)

// A broken store is wrong in just the way that one case forbids.
type broken struct {
	how  string
	fail string   // the case that must notice
	also []string // cases that cannot but notice, too
	luck []string // cases that notice where goroutines happen to meet
	flaw flaw
}

func TestEveryBrokenStoreFailsItsCase(t *testing.T) {
	t.Parallel()
	for _, b := range brokenStores {
		t.Run(b.how, func(t *testing.T) {
			t.Parallel()
			want := append([]string{b.fail}, b.also...)
			slices.Sort(want)
			var got []string
			for _, name := range keystoretest.CaseNames() {
				failure := verdict(t, name, b.flaw)
				if failure != "" && !slices.Contains(b.luck, name) {
					t.Logf("%s: %s", name, failure)
					got = append(got, name)
				}
			}
			slices.Sort(got)
			require.Equal(t, want, got)
		})
	}
}

func TestEveryCaseHasABrokenStore(t *testing.T) {
	t.Parallel()
	var have []string
	for _, b := range brokenStores {
		have = append(have, b.fail)
	}
	names := keystoretest.CaseNames()
	require.NotEmpty(t, names)
	for i, name := range names {
		require.NotContains(t, names[:i], name, "two cases have one name")
		require.Contains(t, have, name, "no store is broken in the way that this case forbids")
	}
}

func TestRightStorePasses(t *testing.T) {
	t.Parallel()
	for _, name := range keystoretest.CaseNames() {
		require.Empty(t, verdict(t, name, flaw{}), name)
	}
	keystoretest.Run(t, keystoretest.Driver{
		Open:   func(*testing.T) keystore.Store { return newModel(flaw{}) },
		Reopen: func(_ *testing.T, s keystore.Store) keystore.Store { return s.(*model).reopen() },
	})
}

// A Store that has nothing beyond the contract is not asked for it.
func TestPlainStorePasses(t *testing.T) {
	t.Parallel()
	keystoretest.Run(t, keystoretest.Driver{
		Open: func(*testing.T) keystore.Store { return struct{ keystore.Store }{newModel(flaw{})} },
	})
}

func verdict(t *testing.T, name string, f flaw) string {
	return keystoretest.Verdict(t.Context(), name,
		func() keystore.Store { return newModel(f) },
		func(s keystore.Store) keystore.Store { return s.(*model).reopen() })
}
