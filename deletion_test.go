package kms_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore/keystoretest"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestDeletionWindow: 7 to 366 days, and nothing is read or written for any other.
func TestDeletionWindow(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		for _, days := range []int{math.MinInt, -366, -7, -1, 0, 1, 6, 7, 8, 365, 366, 367, 1000, math.MaxInt} {
			t.Run(fmt.Sprint(days), func(t *testing.T) {
				k := kit.New(t)
				id := kit.DisabledKey(t, k)
				calls := k.Store.Calls()
				key, err := k.ScheduleKeyDeletion(t.Context(), id, days)
				if days < 7 || days > 366 {
					require.ErrorIs(t, err, kms.ErrWindow)
					require.Equal(t, calls, k.Store.Calls(), "a bad window touched the store")
					return
				}
				require.NoError(t, err)
				require.Equal(t, kms.PendingDeletion, key.State)
				require.Equal(t, k.Clock.Now().Add(time.Duration(days)*24*time.Hour), key.DeletionDate)
			})
		}
	})
}

// TestDeletionInstant: to the last nanosecond before the date the deletion can be
// cancelled; from the date on the key is gone, for every Manager at once and with
// nothing having run.
func TestDeletionInstant(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		for _, days := range []int{7, 366} {
			for _, off := range []time.Duration{-1, 0, 1} {
				t.Run(fmt.Sprintf("%d days%+d ns", days, off), func(t *testing.T) {
					ctx := t.Context()
					k := kit.New(t)
					other := k.Another(t)
					id := k.MustCreateKey(t).ID
					dataKey, err := k.GenerateDataKey(ctx, id, nil)
					require.NoError(t, err)
					_, err = other.Decrypt(ctx, dataKey.Ciphertext, nil) // warms its cache
					require.NoError(t, err)
					require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
					require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, days)))
					for _, m := range []*kms.Manager{k.Manager, other} {
						require.ErrorIs(t, kit.Err(m.Decrypt(ctx, dataKey.Ciphertext, nil)), kms.ErrPendingDeletion)
					}

					k.Clock.AdvanceDays(days)
					k.Clock.Advance(off)
					for _, m := range []*kms.Manager{k.Manager, other, k.Another(t)} {
						want := kms.ErrNotFound
						if off < 0 {
							want = kms.ErrPendingDeletion
						}
						require.ErrorIs(t, kit.Err(m.Decrypt(ctx, dataKey.Ciphertext, nil)), want)
					}
					_, err = other.CancelKeyDeletion(ctx, id)
					if off < 0 {
						require.NoError(t, err)
						require.NoError(t, kit.Err(k.EnableKey(ctx, id)))
						plain, err := k.Decrypt(ctx, dataKey.Ciphertext, nil)
						require.NoError(t, err)
						require.Equal(t, dataKey.Plaintext(), plain)
						return
					}
					require.ErrorIs(t, err, kms.ErrNotFound)
					for key := range k.Keys(ctx, nil) {
						require.NotEqual(t, id, key.ID, "a deleted key is listed")
					}
				})
			}
		}
	})
}

// TestCancelIsAsBefore: a key is after the cancellation what it was before.
func TestCancelIsAsBefore(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		id := kit.PendingKey(t, k)
		key, err := k.CancelKeyDeletion(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, kms.Disabled, key.State)
		require.Zero(t, key.DeletionDate)
		require.ErrorIs(t, kit.Err(k.CancelKeyDeletion(t.Context(), id)), kms.ErrState, "cancelled twice")
	})
}

// TestBlockers: every set of things that stand in the way is told, all of it, and nothing
// else; and when it is empty the deletion is scheduled.
func TestBlockers(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		for set := range 8 {
			enabled, protected, used := set&1 != 0, set&2 != 0, set&4 != 0
			t.Run(fmt.Sprintf("enabled=%v protected=%v used=%v", enabled, protected, used), func(t *testing.T) {
				ctx := t.Context()
				k := kit.New(t)
				id := kit.DisabledKey(t, k)
				if protected {
					require.NoError(t, kit.Err(k.SetDeletionProtection(ctx, id, true, "the audit of 2026")))
				}
				if used {
					require.NoError(t, kit.Err(k.AddDependent(ctx, id, kms.Dependent{Name: "table invoices", Note: "ask Ann"})))
				}
				if enabled {
					require.NoError(t, kit.Err(k.EnableKey(ctx, id)))
				}
				_, err := k.ScheduleKeyDeletion(ctx, id, 30)
				require.Equal(t, enabled, errors.Is(err, kms.ErrState))
				require.Equal(t, protected, errors.Is(err, kms.ErrProtected))
				require.Equal(t, used, errors.Is(err, kms.ErrInUse))
				require.Equal(t, set == 0, err == nil)
				if protected {
					require.ErrorContains(t, err, "the audit of 2026")
				}
				if used {
					require.ErrorContains(t, err, "table invoices")
				}
				if enabled {
					require.Contains(t, kms.Hint(err), "DisableKey")
				}
			})
		}
	})
}

// TestDependents: names are unique, the note is replaced, and there is an end to them.
func TestDependents(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		id := k.MustCreateKey(t).ID
		for i := range kms.MaxDependents {
			require.NoError(t, kit.Err(k.AddDependent(ctx, id, kms.Dependent{Name: fmt.Sprint("table ", i)})))
		}
		require.ErrorIs(t, kit.Err(k.AddDependent(ctx, id, kms.Dependent{Name: "one more"})), kms.ErrInvalid)
		key, err := k.AddDependent(ctx, id, kms.Dependent{Name: "table 7", Note: "moved"})
		require.NoError(t, err)
		require.Len(t, key.Dependents, kms.MaxDependents)
		require.Contains(t, key.Dependents, kms.Dependent{Name: "table 7", Note: "moved"})
		key, err = k.RemoveDependent(ctx, id, kms.Dependent{Name: "table 7"})
		require.NoError(t, err)
		require.Len(t, key.Dependents, kms.MaxDependents-1)
		require.NoError(t, kit.Err(k.RemoveDependent(ctx, id, kms.Dependent{Name: "table 7"})), "removed twice")
		for _, bad := range []kms.Dependent{{}, {Name: strings.Repeat("x", 257)}, {Name: "x", Note: strings.Repeat("x", 257)}, {Name: "\xff"}} {
			require.ErrorIs(t, kit.Err(k.AddDependent(ctx, id, bad)), kms.ErrInvalid)
		}
	})
}

// TestWhatChangesNothingWritesNothing: enabling what is enabled is no write.
func TestWhatChangesNothingWritesNothing(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		id := k.MustCreateKey(t).ID
		k.Store.OnPut(func(name string) (bool, error) { t.Errorf("put %s", name); return true, nil })
		require.NoError(t, kit.Err(k.EnableKey(ctx, id)))
		require.NoError(t, kit.Err(k.SetDescription(ctx, id, "")))
		require.NoError(t, kit.Err(k.SetTags(ctx, id, map[string]string{})))
		require.NoError(t, kit.Err(k.SetDeletionProtection(ctx, id, false, "off")))
		require.NoError(t, kit.Err(k.RemoveDependent(ctx, id, kms.Dependent{Name: "nothing"})))
	})
}

// TestChangesFromManySides: many Managers change one key at once; no change is lost.
func TestChangesFromManySides(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		id := k.MustCreateKey(t).ID
		var all sync.WaitGroup
		for i := range 32 {
			m := k.Another(t)
			all.Go(func() {
				if _, err := m.AddDependent(t.Context(), id, kms.Dependent{Name: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		key, err := k.DescribeKey(t.Context(), id)
		require.NoError(t, err)
		require.Len(t, key.Dependents, 32)
	})
}

// TestCancelAgainstPurge: at the instant of the date one process whose clock is a moment
// behind cancels while another purges. Exactly one of them wins.
func TestCancelAgainstPurge(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		cancelled, rounds := 0, kit.OnMemory(t, 200, 20)
		for range rounds {
			k := kit.New(t)
			behind := k.Another(t, func(c *kms.Config) { c.Now = func() time.Time { return k.Clock.Now().Add(-time.Second) } })
			id := kit.PendingKey(t, k)
			k.Clock.AdvanceDays(7)
			var report kms.Report
			var cancelErr, maintainErr error
			var both sync.WaitGroup
			both.Go(func() { report, maintainErr = k.Maintain(t.Context()) })
			both.Go(func() { _, cancelErr = behind.CancelKeyDeletion(t.Context(), id) })
			both.Wait()
			require.NoError(t, maintainErr)
			require.NotEqual(t, cancelErr == nil, len(report.Purged) == 1, "both won or none: %v, %+v", cancelErr, report)
			if cancelErr == nil {
				cancelled++
				require.NoError(t, kit.Err(k.EnableKey(t.Context(), id)))
				require.NoError(t, kit.Err(k.Encrypt(t.Context(), id, nil, nil)))
			} else {
				require.ErrorIs(t, cancelErr, kms.ErrNotFound)
			}
		}
		t.Logf("cancelled %d of %d", cancelled, rounds)
	})
}

// TestCancelOrPurgeFirst: the same, in either order: the one writes between the other's read
// and write.
func TestCancelOrPurgeFirst(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		for _, purgeFirst := range []bool{false, true} {
			k := kit.New(t)
			direct := func(c *kms.Config) { c.Store = k.Store.Unwrap() }
			behind := func(c *kms.Config) { c.Now = func() time.Time { return k.Clock.Now().Add(-time.Second) } }
			id := kit.PendingKey(t, k)
			k.Clock.AdvanceDays(7)
			cancel := func(m *kms.Manager) error { return kit.Err(m.CancelKeyDeletion(t.Context(), id)) }
			purge := func(m *kms.Manager) []string {
				report, err := m.Maintain(t.Context())
				require.NoError(t, err)
				return report.Purged
			}
			between := func(then func()) {
				k.Store.Before(func(c keystoretest.Call) {
					if c.Method == keystoretest.Put {
						k.Store.Before(nil)
						then()
					}
				})
			}
			if purgeFirst {
				canceller, purger := k.Another(t, behind), k.Another(t, direct)
				between(func() { require.Equal(t, []string{id}, purge(purger)) })
				require.ErrorIs(t, cancel(canceller), kms.ErrNotFound)
			} else {
				canceller := k.Another(t, behind, direct)
				between(func() { require.NoError(t, cancel(canceller)) })
				require.Empty(t, purge(k.Manager))
				require.NoError(t, kit.Err(k.EnableKey(t.Context(), id)))
			}
		}
	})
}
