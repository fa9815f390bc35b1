package kms_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// A listing is one of the loops of a Manager, and what may be added to it.
type listing struct {
	list func(context.Context, *kms.Manager) iter.Seq2[string, error]
	add  func(t *testing.T, m *kms.Manager, n int) (id string)
}

// namesOf are the names of what a loop yields.
func namesOf[T any](of iter.Seq2[T, error], name func(T) string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for v, err := range of {
			if !yield(name(v), err) {
				return
			}
		}
	}
}

func listings() map[string]listing {
	create := func(t *testing.T, m *kms.Manager, o *kms.CreateKeyOptions) string {
		key, err := m.CreateKey(t.Context(), o)
		require.NoError(t, err)
		return key.ID
	}
	return map[string]listing{
		"Keys": {
			func(ctx context.Context, m *kms.Manager) iter.Seq2[string, error] {
				return namesOf(m.Keys(ctx, nil), func(k kms.Key) string { return k.ID })
			},
			func(t *testing.T, m *kms.Manager, _ int) string { return create(t, m, nil) },
		},
		"Aliases": {
			func(ctx context.Context, m *kms.Manager) iter.Seq2[string, error] {
				return namesOf(m.Aliases(ctx, ""), func(a kms.Alias) string { return a.Name })
			},
			func(t *testing.T, m *kms.Manager, n int) string {
				alias := fmt.Sprintf("alias/%04d", n)
				require.NoError(t, m.CreateAlias(t.Context(), alias, create(t, m, nil)))
				return alias
			},
		},
		"Instances": {
			func(ctx context.Context, m *kms.Manager) iter.Seq2[string, error] {
				return namesOf(m.Instances(ctx), func(i kms.Instance) string { return i.ID })
			},
			func(t *testing.T, m *kms.Manager, n int) string {
				id := fmt.Sprintf("tenant-%04d", n)
				require.NoError(t, kit.Err(m.CreateInstance(t.Context(), &kms.InstanceOptions{ID: id})))
				return id
			},
		},
		"Tombstones": {
			func(ctx context.Context, m *kms.Manager) iter.Seq2[string, error] {
				return namesOf(m.Tombstones(ctx), func(b kms.Tombstone) string { return b.KeyID })
			},
			func(t *testing.T, m *kms.Manager, _ int) string {
				id := create(t, m, &kms.CreateKeyOptions{Origin: kms.OriginExternal})
				require.NoError(t, kit.Err(m.ScheduleKeyDeletion(t.Context(), id, 7)))
				return id
			},
		},
	}
}

// TestEveryListEnds: a loop ends though its body, or another process in each round of it, adds one that sorts
// behind for each item; and it has all that there were.
func TestEveryListEnds(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		for name, l := range listings() {
			for _, who := range []string{"the body", "another process"} {
				t.Run(name+" by "+who, func(t *testing.T) {
					const there = 20 // more than a first page
					k := kit.New(t)
					adder := k.Manager
					if who == "another process" {
						adder = k.Another(t)
					}
					want, n := map[string]bool{}, 0
					for range there {
						k.Clock.Advance(time.Millisecond)
						n++
						want[l.add(t, k.Manager, n)] = true
					}
					k.Clock.AdvanceDays(8)
					rounds := 0
					for id, err := range l.list(t.Context(), k.Manager) {
						require.NoError(t, err)
						delete(want, id)
						rounds++
						require.LessOrEqual(t, rounds, there+1, "it goes on") // there is the default instance, too
						n++
						k.Clock.AdvanceDays(8)
						l.add(t, adder, n)
					}
					require.Empty(t, want, "what was there is missing")
				})
			}
		}
	})
}

// TestKeysTakenOverMeanwhile: a key of another system that is taken over while Keys runs is yielded, and
// once, wherever its ID sorts.
func TestKeysTakenOverMeanwhile(t *testing.T) {
	for at := range 3 {
		old := kit.OldKeyring(t, "invoices", 1)
		k := kmstest.New(t, kit.WithSources(old.Source))
		for range 2 {
			k.MustCreateKey(t)
		}
		seen, rounds := map[string]int{}, 0
		for key, err := range k.Keys(t.Context(), nil) {
			require.NoError(t, err)
			if rounds == at && key.ID != old.ID {
				require.NoError(t, kit.Err(k.MigrateLegacyKey(t.Context(), old.ID, kms.DefaultInstance)))
			}
			seen[key.ID]++
			rounds++
		}
		require.Len(t, seen, 3)
		require.Equal(t, 3, rounds, seen)
	}
}
