package faults_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// An errand is a call in a place where it has more to do than in TestStoreFaults.
type errand struct {
	*kmstest.KMS
	call func(ctx context.Context, m *kms.Manager) error
	done error                                           // what a call answers where it was done before; nil: nothing else
	rest func(ctx context.Context, m *kms.Manager) error // what does the rest where that is not the call itself
}

func (a *errand) finish(ctx context.Context, m *kms.Manager) error {
	if a.rest == nil {
		return nil
	}
	return a.rest(ctx, m)
}

// alone hides what a store can do besides, so that each thing that is known is compared with it.
type alone struct{ keystore.Store }

// fed is a store that others write to, too, and that fails where it is asked what they did.
type fed struct {
	alone
	of   *faulty
	feed keystore.Feed
}

func (s fed) Changes(ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
	if s.of.turn(failsBefore) != "" {
		return nil, 0, errLost
	}
	return s.feed.Changes(ctx, segment, after)
}

// kindsOfStores are what a store is to a Manager: its own, followed, or asked each time.
var kindsOfStores = map[string]func(*faulty) keystore.Store{
	"owned":    func(s *faulty) keystore.Store { return s },
	"asked":    func(s *faulty) keystore.Store { return alone{s} },
	"followed": func(s *faulty) keystore.Store { return fed{alone{s}, s, s.Store.(*keystore.Memory)} },
}

// TestStoreFaultsElsewhere fails the k-th call of the store, for each k, in calls that have much
// to do. The answer says that it was the store, and whoever calls again ends where one ends to
// whom nothing happened.
func TestStoreFaultsElsewhere(t *testing.T) {
	for name, begin := range errands {
		for kind, as := range kindsOfStores {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				a := begin(t)
				stored := kit.CopyStore(t, a.Store)
				clean := kit.CopyStore(t, stored)
				require.NoError(t, a.call(t.Context(), a.over(t, clean)))
				require.NoError(t, a.finish(t.Context(), a.over(t, clean)))
				end := errandEnd(t, stored, a.over(t, clean))
				for k, reached := 1, true; reached; k++ {
					reached = false
					require.Less(t, k, 200)
					for _, how := range []mishap{failsBefore, failsAfter, outrun} {
						for _, knows := range []bool{false, true} {
							store := &faulty{Store: kit.CopyStore(t, stored), last: map[string]keystore.Item{}}
							m := a.over(t, as(store))
							if knows {
								kit.Outcome(t, m)
							}
							what := fmt.Sprintf("call %d, %s, knows the keys: %v", k, how, knows)
							called, fits := a.try(t, m, store, how, k, what)
							if reached = reached || called; fits {
								require.Equal(t, end, errandEnd(t, stored, a.over(t, store.Store)), what)
							}
						}
					}
				}
			})
		}
	}
}

func (a *errand) over(t *testing.T, store keystore.Store) *kms.Manager {
	return a.Another(t, func(c *kms.Config) { c.Store, c.CacheKeys = store, 16 })
}

// try has the k-th call of the store go wrong and calls again, and tells whether there was such a
// call, and whether that can happen to it.
func (a *errand) try(t *testing.T, m *kms.Manager, store *faulty, how mishap, k int, what string) (called, fits bool) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store.arm(how, k, cancel)
	err := a.call(ctx, m)
	called, fits = store.calls >= k, store.fits
	store.arm("", 0, nil)
	switch {
	case !fits:
		return called, false
	case err == nil:
		require.NotEqual(t, failsBefore, how, "%s: nobody was told", what)
	case how == outrun && a.done != nil && errors.Is(err, a.done): // by the other
	default:
		want := "ErrUnavailable"
		if ctx.Err() != nil {
			want = "ErrCanceled"
		}
		require.Equal(t, []string{want}, kit.Conditions(err), "%s: %v", what, err)
		require.True(t, errors.Is(err, errLost) || errors.Is(err, context.Canceled), "%s: %v", what, err)
	}
	if err := a.call(t.Context(), m); err != nil {
		require.ErrorIs(t, err, a.done, what)
	}
	require.NoError(t, a.finish(t.Context(), m), what)
	return called, true
}

// errandEnd is kit.Outcome where keys that were made have no name.
func errandEnd(t *testing.T, before *keystore.Memory, m *kms.Manager) []any {
	made := func(id string) bool {
		_, err := before.Get(t.Context(), "key/"+id)
		return errors.Is(err, keystore.ErrNotFound)
	}
	end := kit.Outcome(t, m)
	for i, one := range end {
		switch one := one.(type) {
		case kms.Key:
			if made(one.ID) {
				one.ID = "made"
			}
			end[i] = one
		case kms.Alias:
			if made(one.KeyID) {
				one.KeyID = "made"
			}
			end[i] = one
		}
	}
	return slices.Clip(end)
}

// TestOpenOnNewStoreThatFails: nothing is begun in a store that does not say whether it is new.
func TestOpenOnNewStoreThatFails(t *testing.T) {
	k := kmstest.New(t)
	for at := 1; ; at++ {
		require.Less(t, at, 20)
		memory := new(keystore.Memory)
		store := remembering(memory)
		store.arm(failsBefore, at, nil)
		_, err := kms.Open(t.Context(), k.ConfigWith(func(c *kms.Config) { c.Store = store }))
		if store.calls < at {
			require.NoError(t, err)
			break
		}
		require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err), "call %d", at)
		require.ErrorIs(t, err, errLost)
		require.NoError(t, kit.Err(kms.Open(t.Context(), k.ConfigWith(func(c *kms.Config) { c.Store = memory }))))
	}
}
