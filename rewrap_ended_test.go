package kms_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyhold/kms"
	"github.com/stretchr/testify/require"
)

// TestRewrapEnds: a Rewrap that keeps its pace ends with its context, at once and between two, also
// among ciphertexts of another system; and what it did not do the next run does.
func TestRewrapEnds(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			k, old := oldIn(t, "acme", true)
			all := shelf{}
			for _, id := range []string{"a", "b", "c"} {
				w := kms.Wrapped{ID: id, Ciphertext: slices.Clone(old.ciphertexts[0]), Context: old.ec}
				if !foreign {
					var err error
					w.Ciphertext, err = k.Encrypt(t.Context(), old.id, []byte("old"), old.ec)
					require.NoError(t, err)
				}
				all[id] = w
			}
			require.NoError(t, only(k.RotateKey(t.Context(), old.id)))
			begun := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			report, err := k.Rewrap(ctx, old.id, all.items, all.put, &kms.RewrapOptions{PerSecond: 1})
			require.Equal(t, []string{"ErrUnavailable"}, conditionsOf(err))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, 2500*time.Millisecond, time.Since(begun))
			require.Equal(t, kms.RewrapReport{KeyID: old.id, Version: 2, Rewrapped: 2, Last: "b"}, report)
			report, err = k.Rewrap(t.Context(), old.id, all.items, all.put, &kms.RewrapOptions{After: report.Last})
			require.NoError(t, err)
			require.Equal(t, kms.RewrapReport{KeyID: old.id, Version: 2, Rewrapped: 1, Last: "c", Complete: true}, report)
		})
	}
}

// TestRewrapStopsAtDamage: a ciphertext of another system that does not open stops a Rewrap before it, as
// one of this service does.
func TestRewrapStopsAtDamage(t *testing.T) {
	k, old := oldIn(t, "acme", true)
	own, err := k.Encrypt(t.Context(), old.id, nil, nil)
	require.NoError(t, err)
	require.NoError(t, only(k.RotateKey(t.Context(), old.id)))
	for _, c := range [][]byte{old.ciphertexts[0], own} {
		damaged := slices.Clone(c)
		damaged[len(damaged)-1] ^= 1
		all := shelf{"a": {ID: "a", Ciphertext: damaged, Context: old.ec}}
		report, err := k.Rewrap(t.Context(), old.id, all.items, all.put, nil)
		require.Equal(t, []string{"ErrCiphertext"}, conditionsOf(err))
		require.Equal(t, kms.RewrapReport{KeyID: old.id, Version: 2}, report)
		require.Equal(t, damaged, all["a"].Ciphertext)
	}
}
