package kms_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/stretchr/testify/require"
)

// TestRewrapEnds: a Rewrap that keeps its pace ends with its context, at once and between two, also
// among ciphertexts of another system; and what it did not do the next run does.
func TestRewrapEnds(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			k, old := kit.OldIn(t, "acme", true)
			all := kit.Shelf{}
			for _, id := range []string{"a", "b", "c"} {
				w := kms.Wrapped{ID: id, Ciphertext: slices.Clone(old.Ciphertexts[0]), Context: old.EC}
				if !foreign {
					var err error
					w.Ciphertext, err = k.Encrypt(t.Context(), old.ID, []byte("old"), old.EC)
					require.NoError(t, err)
				}
				all[id] = w
			}
			require.NoError(t, kit.Err(k.RotateKey(t.Context(), old.ID)))
			begun := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			report, err := k.Rewrap(ctx, old.ID, all.Items, all.Put, &kms.RewrapOptions{PerSecond: 1})
			require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, 2500*time.Millisecond, time.Since(begun))
			require.Equal(t, kms.RewrapReport{KeyID: old.ID, Version: 2, Rewrapped: 2, Last: "b"}, report)
			report, err = k.Rewrap(t.Context(), old.ID, all.Items, all.Put, &kms.RewrapOptions{After: report.Last})
			require.NoError(t, err)
			require.Equal(t, kms.RewrapReport{KeyID: old.ID, Version: 2, Rewrapped: 1, Last: "c", Complete: true}, report)
		})
	}
}

// TestRewrapStopsAtDamage: a ciphertext of another system that does not open stops a Rewrap before it, as
// one of this service does.
func TestRewrapStopsAtDamage(t *testing.T) {
	k, old := kit.OldIn(t, "acme", true)
	own, err := k.Encrypt(t.Context(), old.ID, nil, nil)
	require.NoError(t, err)
	require.NoError(t, kit.Err(k.RotateKey(t.Context(), old.ID)))
	for _, c := range [][]byte{old.Ciphertexts[0], own} {
		damaged := slices.Clone(c)
		damaged[len(damaged)-1] ^= 1
		all := kit.Shelf{"a": {ID: "a", Ciphertext: damaged, Context: old.EC}}
		report, err := k.Rewrap(t.Context(), old.ID, all.Items, all.Put, nil)
		require.Equal(t, []string{"ErrCiphertext"}, kit.Conditions(err))
		require.Equal(t, kms.RewrapReport{KeyID: old.ID, Version: 2}, report)
		require.Equal(t, damaged, all["a"].Ciphertext)
	}
}
