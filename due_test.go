package kms_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/keystoretest"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestMaintainReadsNoKey: where nothing is due, Maintain reads the record of no key and writes
// nothing, in a process that has just begun, too.
func TestMaintainReadsNoKey(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		for range 20 {
			k.MustCreateKey(t)
			kit.PendingKey(t, k)
			require.NoError(t, kit.Err(k.UpdateRotationPolicy(ctx, k.MustCreateKey(t).ID, 30)))
		}
		kit.Tenant(t, k, "tenant", 100)
		require.Equal(t, 61, kit.Maintain(t, k).Keys)
		k.Clock.Advance(23 * time.Hour)

		var touched atomic.Int64
		k.Store.Before(func(call keystoretest.Call) {
			if call.Method == keystoretest.Put || strings.HasPrefix(call.Name, "key/") {
				touched.Add(1)
			}
		})
		for _, m := range []*kms.Manager{k.Manager, k.Another(t), k.Manager} {
			report, err := m.Maintain(ctx)
			require.NoError(t, err)
			require.Equal(t, kms.Report{}, report)
		}
		require.Zero(t, touched.Load())
		k.Clock.Advance(time.Hour)
		require.Equal(t, 61, kit.Maintain(t, k).Keys, "once a day it looks at all")
		require.NotZero(t, touched.Load())
	})
}

// dueVerbs set something that Maintain has to do later: each prepares a key, and has a call that
// sets it, for which the time is given.
var dueVerbs = []struct {
	name    string
	prepare func(t *testing.T, k *kmstest.KMS) (call func(ctx context.Context) error)
	after   time.Duration
	done    func(kms.Report) int
}{
	{"ScheduleKeyDeletion", func(t *testing.T, k *kmstest.KMS) func(context.Context) error {
		id := kit.DisabledKey(t, k)
		return func(ctx context.Context) error { return kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)) }
	}, 7 * 24 * time.Hour, func(r kms.Report) int { return len(r.Noted) + len(r.Purged) }},
	{"ImportKeyMaterial", func(t *testing.T, k *kmstest.KMS) func(context.Context) error {
		id := kit.ExternalKey(t, k)
		wrapped, token := kit.WrapMaterial(t, k, id, kit.Pattern(32))
		until := k.Clock.Now().Add(2 * time.Hour)
		return func(ctx context.Context) error {
			return kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, until))
		}
	}, 2 * time.Hour, func(r kms.Report) int { return len(r.Expired) }},
	{"UpdateRotationPolicy", func(t *testing.T, k *kmstest.KMS) func(context.Context) error {
		id := k.MustCreateKey(t).ID
		return func(ctx context.Context) error { return kit.Err(k.UpdateRotationPolicy(ctx, id, 7)) }
	}, 7 * 24 * time.Hour, func(r kms.Report) int { return len(r.Rotated) }},
	{"DeleteKeyMaterial", func(t *testing.T, k *kmstest.KMS) func(context.Context) error {
		id, _, _ := kit.ImportedKey(t, k, kit.Pattern(32))
		return func(ctx context.Context) error { return kit.Err(k.DeleteKeyMaterial(ctx, id, nil)) }
	}, 0, func(r kms.Report) int { return len(r.Expired) }},
}

// TestDueKilled kills each call that sets a date at each of its writes, done or not. What then
// stands in the store is done at its time by a pass that goes by the due index alone, if the call
// got as far as that, and only then.
func TestDueKilled(t *testing.T) {
	t.Parallel()
	killed := errors.New("killed")
	for _, verb := range dueVerbs {
		t.Run(verb.name, func(t *testing.T) {
			t.Parallel()
			for put := 1; ; put++ {
				for _, applied := range []bool{false, true} {
					k := kmstest.New(t)
					call := verb.prepare(t, k)
					puts, written := 0, false
					k.Store.OnPut(func(name string) (bool, error) {
						if puts++; puts == put {
							written = written || applied && strings.HasPrefix(name, "key/")
							return applied, killed
						} else if puts > put {
							return false, killed
						}
						written = written || strings.HasPrefix(name, "key/")
						return true, nil
					})
					_ = call(t.Context())
					k.Store.OnPut(nil)
					if puts < put {
						require.GreaterOrEqual(t, put, 3, "the date, and the record")
						return
					}
					k.Clock.Advance(verb.after)
					m := k.Another(t)
					require.NoError(t, kms.NoteFullPass(t.Context(), m, k.Clock.Now().Add(-time.Minute)))
					report, err := m.Maintain(t.Context())
					require.NoError(t, err)
					want := 0
					if written && !(verb.after == 0 && put > 2 && applied) { // there the call had done it itself
						want = 1
					}
					require.Equal(t, want, verb.done(report), "write %d, done: %t", put, applied)
				}
			}
		})
	}
}

// TestDueHeldUp: a call that is held up between its two writes is not missed by passes that come
// in between, for an hour; after that by none that looks at all.
func TestDueHeldUp(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		held  time.Duration
		waits time.Duration
	}{{59 * time.Minute, 0}, {3 * time.Hour, 24 * time.Hour}} {
		k := kmstest.New(t)
		kit.Maintain(t, k)
		id := kit.ExternalKey(t, k)
		wrapped, token := kit.WrapMaterial(t, k, id, kit.Pattern(32))
		other := k.Another(t)
		k.Store.OnPut(func(name string) (bool, error) {
			if !strings.HasPrefix(name, "key/") {
				return true, nil
			}
			k.Store.OnPut(nil)
			for range 3 {
				k.Clock.Advance(row.held / 3)
				require.NoError(t, kit.Err(k.Maintain(t.Context())))
				require.NoError(t, kit.Err(other.Maintain(t.Context())))
			}
			return true, nil
		})
		_, err := k.ImportKeyMaterial(t.Context(), id, wrapped, token, k.Clock.Now().Add(time.Second))
		require.NoError(t, err)
		require.Equal(t, row.waits > 0, len(kit.Maintain(t, k).Expired) == 0)
		k.Clock.Advance(row.waits)
		report, err := other.Maintain(t.Context())
		require.NoError(t, err)
		require.Equal(t, row.waits > 0, len(report.Expired) == 1)
	}
}

// A blindStore shows no items of the due index.
type blindStore struct{ keystore.Store }

func (s blindStore) Unwrap() keystore.Store { return s.Store }

func (s blindStore) List(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	if prefix == "due/" {
		return func(func(keystore.Item, error) bool) {}
	}
	return s.Store.List(ctx, prefix, after)
}

// TestDueLost: what somebody took from the due index, or from the note of the last full pass, is
// missed for a day at most; what he put there harms nobody.
func TestDueLost(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	k := kmstest.New(t, func(c *kms.Config) { c.Store = blindStore{new(keystore.Memory)} })
	id := kit.PendingKey(t, k)
	k.Clock.Advance(7*24*time.Hour - time.Hour)
	require.Equal(t, 1, kit.Maintain(t, k).Keys)
	k.Clock.Advance(23 * time.Hour)
	require.Zero(t, kit.Maintain(t, k).Keys)
	k.Clock.Advance(time.Hour)
	require.Equal(t, []string{id}, kit.Maintain(t, k).Purged)

	k = kmstest.New(t)
	id = kit.PendingKey(t, k)
	kit.Maintain(t, k)
	for _, name := range []string{"due/", "due/x", "due/20260101T0000", "due/20260101T0000/", "due/20260101T0000/x", "due/20260101T0000/" + strings.ToUpper(id),
		"due/20260101T0000/01890000-0000-7000-8000-000000000000", "due/20261301T0000/" + id, "due/20260101T0000/" + id, "due/20260102T0000/" + id} {
		if _, err := k.Store.Put(ctx, name, "", []byte("noise")); err != nil {
			t.Log(name, err)
		}
	}
	k.Clock.Advance(23 * time.Hour)
	kit.Maintain(t, k)
	for _, bad := range []string{"", "noise", string(kit.StoredValue(t, k, "instance/default"))} {
		kit.EditItem(t, k, "maintain/full-pass", func([]byte) []byte { return []byte(bad) })
		require.Equal(t, 1, kit.Maintain(t, k).Keys, "a full pass")
	}
}

// TestDueAfterJump: a clock that was far ahead, and was set right, leaves nothing undone.
func TestDueAfterJump(t *testing.T) {
	t.Parallel()
	k := kmstest.New(t, withRecorder(&kit.Recorder{}, 24*time.Hour))
	kit.Maintain(t, k)
	right := k.Clock.Now()
	k.Clock.AdvanceDays(300)
	kit.Maintain(t, k)
	k.Clock.Set(right)
	id := kit.PendingKey(t, k)
	k.Clock.AdvanceDays(7)
	require.Equal(t, []string{id}, kit.Maintain(t, k).Noted)
	k.Clock.AdvanceDays(1)
	require.Equal(t, []string{id}, kit.Maintain(t, k).Purged)
}

// TestDueTriedAgain: what cannot be done is tried by every pass, also after full ones.
func TestDueTriedAgain(t *testing.T) {
	t.Parallel()
	r := &kit.Recorder{Fail: errors.New("the hardware is away")}
	k := kmstest.New(t, withRecorder(r, time.Hour))
	id := kit.PendingKey(t, k)
	k.Clock.AdvanceDays(7)
	kit.Maintain(t, k)
	for range 100 {
		k.Clock.Advance(time.Hour)
		report, err := k.Maintain(t.Context())
		require.ErrorIs(t, err, kms.ErrUnavailable)
		require.Equal(t, []string{id}, report.Waiting)
	}
	r.Fail = nil
	require.Equal(t, []string{id}, kit.Maintain(t, k).Purged)
	require.Equal(t, []string{id + "/1"}, r.Destroyed)
}

// What is due is found by a process that looked at a later time before the clock was set right.
func TestDueAfterTheClockWasSetBack(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id, other, start := k.MustCreateKey(t).ID, k.Another(t), k.Clock.Now()
	k.Clock.AdvanceDays(10)
	require.NoError(t, kit.Err(k.Maintain(ctx)))
	require.NoError(t, kit.Err(other.Maintain(ctx)))
	k.Clock.Set(start)
	require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
	for _, at := range []time.Duration{0, 7*24*time.Hour - time.Minute} {
		k.Clock.Set(start.Add(at))
		require.NoError(t, kit.Err(k.Maintain(ctx)))
	}
	k.Clock.Advance(time.Minute)
	report, err := other.Maintain(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{id}, report.Purged)
}

// A note that a clock made that was ahead is dropped by the next pass of a clock that is right, also
// within a day of a full pass.
func TestDueNoteOfAWrongClock(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, func(c *kms.Config) { c.PurgeDelay = 24 * time.Hour })
	id := k.MustCreateKey(t).ID
	require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
	date := k.Clock.Now().Add(7 * 24 * time.Hour)
	for range 2 { // the second pass comes a day after the first note, and is no second look
		for _, at := range []struct {
			from  time.Duration
			noted []string
		}{{-2 * time.Hour, nil}, {time.Minute, []string{id}}, {-time.Hour, nil}, {25 * time.Hour, []string{id}}} {
			k.Clock.Set(date.Add(at.from))
			report, err := k.Maintain(ctx)
			require.NoError(t, err)
			require.Equal(t, at.noted, report.Noted, at.from)
			require.Empty(t, report.Purged)
		}
	}
}
