package kms_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/keyhold/kms"
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
// whom nothing happened. A call that reads alone has changed nothing.
func TestStoreFaultsElsewhere(t *testing.T) {
	for name, begin := range errands {
		for kind, as := range kindsOfStores {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				a := begin(t)
				stored := copyOf(t, a.Store)
				open := func(s keystore.Store) *kms.Manager {
					return a.Another(t, func(c *kms.Config) { c.Store, c.CacheKeys = s, 16 })
				}
				clean := copyOf(t, stored)
				require.NoError(t, a.call(t.Context(), open(clean)))
				require.NoError(t, a.finish(t.Context(), open(clean)))
				end, cells := errandEnd(t, stored, open(clean)), 0
				for k, reached := 1, true; reached; k++ {
					reached = false
					require.Less(t, k, 200)
					for _, how := range []mishap{failsBefore, failsAfter, outrun} {
						for _, knows := range []bool{false, true} {
							what := fmt.Sprintf("call %d, %s, knows the keys: %v", k, how, knows)
							store := &faulty{Store: copyOf(t, stored), last: map[string]keystore.Item{}}
							m := open(as(store))
							if knows {
								endOf(t, m)
							}
							ctx, cancel := context.WithCancel(t.Context())
							store.arm(how, k, cancel)
							err := a.call(ctx, m)
							cancel()
							reached = reached || store.calls >= k
							if store.fits {
								cells++
							}
							require.False(t, err == nil && how == failsBefore && store.fits, "%s: nobody was told", what)
							store.arm("", 0, nil)
							if err != nil && !(how == outrun && a.done != nil && errors.Is(err, a.done)) {
								require.Equal(t, []string{"ErrUnavailable"}, conditionsOf(err), "%s: %v", what, err)
								require.True(t, errors.Is(err, errLost) || errors.Is(err, context.Canceled), "%s: %v", what, err)
							}
							if err = a.call(t.Context(), m); err != nil {
								require.ErrorIs(t, err, a.done, what)
							}
							require.NoError(t, a.finish(t.Context(), m), what)
							require.Equal(t, end, errandEnd(t, stored, open(store.Store)), what)
						}
					}
				}
				require.NotZero(t, cells)
			})
		}
	}
}

// errandEnd is endOf where keys that were made have no name.
func errandEnd(t *testing.T, before *keystore.Memory, m *kms.Manager) []any {
	made := func(id string) bool {
		_, err := before.Get(t.Context(), "key/"+id)
		return errors.Is(err, keystore.ErrNotFound)
	}
	end := endOf(t, m)
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
