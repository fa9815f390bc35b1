package providertest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/provider/providertest"
	"github.com/keyhold/kms/software"
)

// TestEachCaseFailsAlone runs all cases against providers that are broken, each in the
// way that one case forbids: that case fails, and no other does.
func TestEachCaseFailsAlone(t *testing.T) {
	t.Parallel()
	names, whyOf := providertest.Promises.Names(t)

	caught := map[string]bool{}
	for _, b := range brokenProviders {
		require.Contains(t, whyOf, b.fails, "%s: no case has that name", b.name)
		caught[b.fails] = true
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			for _, name := range names {
				r := providertest.Promises.Watch(t.Context(), name, b.make())
				switch {
				case name == b.fails:
					require.True(t, r.Failed(), "%q passed", name)
					require.Contains(t, r.Log(), "why: "+whyOf[name])
				default:
					require.False(t, r.Failed(), "%q failed too: %s", name, r.Log())
				}
			}
		})
	}
	for _, name := range names {
		require.True(t, caught[name], "no broken provider fails %q", name)
	}
}

// TestTheSoundPass: the provider that the broken ones are made of passes every case, also
// where the result is watched as it is for them.
func TestTheSoundPass(t *testing.T) {
	t.Parallel()
	names, _ := providertest.Promises.Names(t)
	for _, name := range names {
		r := providertest.Promises.Watch(t.Context(), name, &hooked{Provider: software.New()})
		require.False(t, r.Failed(), "%q failed: %s", name, r.Log())
	}
}
