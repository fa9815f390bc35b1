package kms_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

func withRecorder(r *kit.Recorder, delay time.Duration) func(*kms.Config) {
	r.Provider = software.New()
	return func(c *kms.Config) { c.Software, c.PurgeDelay = r, delay }
}

// TestPurge: noted when the date is first seen passed, purged PurgeDelay later, once.
func TestPurge(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		ctx := t.Context()
		r := &kit.Recorder{}
		k := kit.New(t, withRecorder(r, 0)) // the default, 24 hours
		id := kit.PendingKey(t, k)
		keeps := k.MustCreateKey(t).ID // which is looked at once in 24 hours

		k.Clock.AdvanceDays(7)
		k.Clock.Advance(-1)
		require.Equal(t, kms.Report{Keys: 2}, kit.Maintain(t, k))
		k.Clock.Advance(1)
		require.Equal(t, kms.Report{Keys: 1, Noted: []string{id}}, kit.Maintain(t, k))
		k.Clock.Advance(24*time.Hour - 1)
		require.Equal(t, kms.Report{Keys: 2, Waiting: []string{id}}, kit.Maintain(t, k))
		require.Empty(t, r.Destroyed)
		k.Clock.Advance(1)
		require.Equal(t, kms.Report{Keys: 1, Purged: []string{id}}, kit.Maintain(t, k))
		require.Equal(t, []string{id + "/1"}, r.Destroyed)
		require.Equal(t, kms.Report{Keys: 1}, kit.Maintain(t, k), "purged twice")
		require.ErrorIs(t, kit.Err(k.DescribeKey(ctx, id)), kms.ErrNotFound)
		require.NoError(t, kit.Err(k.Encrypt(ctx, keeps, nil, nil)))
	})
}

// TestClockThatJumped: a clock that was wrong by more than a year destroys nothing if it is
// set right within PurgeDelay; the key is what its facts say, and the note is dropped.
func TestClockThatJumped(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		ctx := t.Context()
		r := &kit.Recorder{}
		k := kit.New(t, withRecorder(r, 24*time.Hour))
		id := kit.PendingKey(t, k)
		right := k.Clock.Now().Add(time.Hour)

		for range 3 { // each time it is right in between, so that no note grows old
			k.Clock.AdvanceDays(400)
			require.Equal(t, []string{id}, kit.Maintain(t, k).Noted)
			require.ErrorIs(t, kit.Err(k.DescribeKey(ctx, id)), kms.ErrNotFound, "state follows the clock at once")
			k.Clock.Set(right)
			require.Equal(t, kms.Report{Keys: 1}, kit.Maintain(t, k))
			key, err := k.DescribeKey(ctx, id)
			require.NoError(t, err)
			require.Equal(t, kms.PendingDeletion, key.State)
		}
		require.Empty(t, r.Destroyed)
		require.NoError(t, kit.Err(k.CancelKeyDeletion(ctx, id)))

		// Backwards: what was destroyed stays so.
		require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
		k.Clock.AdvanceDays(7)
		kit.Maintain(t, k)
		k.Clock.AdvanceDays(1)
		require.Equal(t, []string{id}, kit.Maintain(t, k).Purged)
		k.Clock.Set(right)
		require.ErrorIs(t, kit.Err(k.CancelKeyDeletion(ctx, id)), kms.ErrNotFound)
		require.ErrorIs(t, kit.Err(k.DescribeKey(ctx, id)), kms.ErrNotFound)
	})
}

// TestNoteFromTheFuture: a note that a wrong clock left, while the date itself has passed
// on the right one, begins to count anew.
func TestNoteFromTheFuture(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		r := &kit.Recorder{}
		k := kit.New(t, withRecorder(r, 24*time.Hour))
		id := kit.PendingKey(t, k)
		k.Clock.AdvanceDays(8)
		due := k.Clock.Now()
		k.Clock.AdvanceDays(400)
		require.Equal(t, []string{id}, kit.Maintain(t, k).Noted)
		k.Clock.Set(due)
		require.Equal(t, []string{id}, kit.Maintain(t, k).Noted)
		k.Clock.Advance(24*time.Hour - 1)
		require.Equal(t, []string{id}, kit.Maintain(t, k).Waiting)
		k.Clock.Advance(1)
		require.Equal(t, []string{id}, kit.Maintain(t, k).Purged)
	})
}

// TestPurgeKilled kills Maintain at each of its steps, in each way that a step can fail, and
// lets the next pass of another Manager finish.
func TestPurgeKilled(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		killed := errors.New("killed")
		for put := 1; put <= 3; put++ { // the note, the tombstone, the forgetting
			for _, applied := range []bool{false, true} {
				r := &kit.Recorder{}
				k := kit.New(t, withRecorder(r, time.Hour))
				id := kit.PendingKey(t, k)
				k.Clock.AdvanceDays(7)
				puts := 0
				k.Store.OnPut(func(name string) (bool, error) {
					if !strings.HasPrefix(name, "key/") {
						return true, nil
					}
					if puts++; puts == put {
						return applied, killed
					}
					return true, nil
				})
				for puts < put {
					_, err := k.Maintain(t.Context())
					require.Equal(t, puts == put, errors.Is(err, killed))
					k.Clock.Advance(time.Hour)
				}
				k.Store.OnPut(nil)
				finish(t, k, id)
				require.Contains(t, r.Destroyed, id+"/1", "put %d applied %v", put, applied)
			}
		}
	})
}

// TestPurgeWaitsForTheProvider: a key that the provider cannot destroy now is never reported
// as purged, keeps no other from its purge, and is finished later.
func TestPurgeWaitsForTheProvider(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		r := &kit.Recorder{Fail: provider.ErrUnavailable}
		k := kit.New(t, withRecorder(r, -1))
		first, second := kit.PendingKey(t, k), kit.PendingKey(t, k)
		k.Clock.AdvanceDays(7)
		for range 2 {
			report, err := k.Maintain(t.Context())
			require.ErrorIs(t, err, kms.ErrUnavailable)
			require.Equal(t, kms.Report{Keys: 2, Waiting: []string{first, second}}, report)
			require.ErrorIs(t, kit.Err(k.DescribeKey(t.Context(), first)), kms.ErrNotFound)
		}
		r.Fail = nil
		require.Equal(t, []string{first, second}, kit.Maintain(t, k).Purged)
		require.Equal(t, []string{first + "/1", second + "/1"}, r.Destroyed)
	})
}

// finish runs Maintain on a fresh Manager until it has nothing to do, and looks at the end.
func finish(t *testing.T, k *kmstest.KMS, id string) {
	m := k.Another(t)
	purged := 0
	for range 3 {
		report, err := m.Maintain(t.Context())
		require.NoError(t, err)
		purged += len(report.Purged)
		k.Clock.Advance(time.Hour)
	}
	report, err := m.Maintain(t.Context())
	require.NoError(t, err)
	report.Keys = 0
	require.Equal(t, kms.Report{}, report)
	require.LessOrEqual(t, purged, 1)
	require.ErrorIs(t, kit.Err(m.DescribeKey(t.Context(), id)), kms.ErrNotFound)
	item, err := k.Store.Get(t.Context(), "key/"+id)
	require.NoError(t, err)
	require.NotContains(t, string(item.Value), "sealed", "material is left in the tombstone")
}

// TestRun keeps maintaining until its context ends.
func TestRun(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		id := kit.PendingKey(t, k)
		k.Clock.AdvanceDays(7)
		ctx, stop := context.WithCancelCause(t.Context())
		why := errors.New("shutting down")
		m := k.Another(t, func(c *kms.Config) {
			c.Observe = func(_ context.Context, e kms.Event) {
				if e.Op == kms.OpMaintain {
					stop(why)
				}
			}
		})
		require.ErrorIs(t, m.Run(ctx), why)
		require.ErrorIs(t, kit.Err(k.DescribeKey(t.Context(), id)), kms.ErrNotFound)
		require.Empty(t, kit.Maintain(t, k).Purged, "Run had not purged it")
	})
}

// TestRunEveryMinute: Run maintains at once, and then every minute until its context ends.
func TestRunEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, passes := time.Now(), []time.Duration{}
		k := kmstest.New(t, func(c *kms.Config) {
			c.Observe = func(_ context.Context, e kms.Event) {
				if e.Op == kms.OpMaintain {
					passes = append(passes, time.Since(begun))
				}
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		require.ErrorIs(t, k.Run(ctx), context.DeadlineExceeded)
		require.Equal(t, []time.Duration{0, time.Minute, 2 * time.Minute}, passes)
		require.Equal(t, 150*time.Second, time.Since(begun), "it went on")
	})
}
