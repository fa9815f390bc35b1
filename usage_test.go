package kms_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy/transit"
	"github.com/stretchr/testify/require"
)

func keyUsage(t *testing.T, m *kms.Manager, id string) kms.KeyUsage {
	t.Helper()
	u, err := m.KeyUsage(t.Context(), id)
	require.NoError(t, err)
	return u
}

// TestKeyUsage: what is counted of which version, and what is not; before it is kept, after
// it, and by two processes together.
func TestKeyUsage(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	require.Equal(t, kms.KeyUsage{KeyID: id}, keyUsage(t, k.Manager, id))
	first := k.Clock.Now()
	c, err := k.Encrypt(ctx, id, nil, nil)
	require.NoError(t, err)
	require.Error(t, kit.Err(k.Decrypt(ctx, c, kms.EncryptionContext{"a": "b"})), "what fails is no use")
	require.NoError(t, kit.Err(k.DescribeKey(ctx, id)), "and nor is what reads")
	require.NoError(t, kit.Err(k.RotateKey(ctx, id)))
	k.Clock.Advance(time.Hour)
	other := k.Another(t)
	require.NoError(t, kit.Err(other.GenerateDataKey(ctx, id, nil)))
	require.NoError(t, kit.Err(other.GenerateDataKey(ctx, id, nil)))
	k.Clock.Advance(time.Hour)
	require.NoError(t, kit.Err(other.Decrypt(ctx, c, nil)))

	mine := []kms.VersionUsage{{Version: 1, Uses: 1, Last: first, LastOp: kms.OpEncrypt}}
	require.Equal(t, mine, keyUsage(t, k.Manager, id).Versions)
	both := []kms.VersionUsage{
		{Version: 1, Uses: 2, Last: first.Add(2 * time.Hour), LastOp: kms.OpDecrypt},
		{Version: 2, Uses: 2, Last: first.Add(time.Hour), LastOp: kms.OpGenerateDataKey},
	}
	require.NoError(t, k.Close(ctx))
	require.Equal(t, both, keyUsage(t, other, id).Versions)
	require.NoError(t, kit.Err(other.Maintain(ctx)))
	for _, m := range []*kms.Manager{k.Manager, other, k.Another(t)} {
		u := keyUsage(t, m, id)
		require.Equal(t, both, u.Versions)
		require.EqualValues(t, 4, u.Uses())
		require.Equal(t, both[0], u.Last())
	}
	before := kit.StoredItems(t, k)
	require.NoError(t, other.Close(ctx))
	kit.Maintain(t, k)
	require.Equal(t, before, kit.StoredItems(t, k), "nothing was counted, and something was written")
	require.NoError(t, kit.Err(other.Decrypt(ctx, c, nil)), "a use after it was put away")
	require.EqualValues(t, 5, keyUsage(t, other, id).Uses())
	require.NoError(t, other.Close(ctx))
	require.EqualValues(t, 5, keyUsage(t, k.Manager, id).Uses())
}

// TestRefusedUses: a use that what the key is refuses is counted with its time, operation and
// reason. One of a key that is PendingDeletion is an alarm besides: it is told to Observe and
// the last ten are kept.
func TestRefusedUses(t *testing.T) {
	ctx := t.Context()
	var alarms []kms.Event
	k := kmstest.New(t, func(c *kms.Config) {
		c.Observe = func(_ context.Context, e kms.Event) {
			if e.Notice != "" {
				alarms = append(alarms, e)
			}
		}
	})
	id := k.MustCreateKey(t).ID
	c, err := k.Encrypt(ctx, id, nil, nil)
	require.NoError(t, err)
	require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrDisabled)
	require.ErrorIs(t, kit.Err(k.RotateKey(ctx, id)), kms.ErrDisabled, "which is no use")
	require.ErrorIs(t, kit.Err(k.Sign(ctx, id, kms.SignEd25519, nil)), kms.ErrUnsupported, "nor is what the key never does")
	u := keyUsage(t, k.Manager, id)
	require.EqualValues(t, 1, u.Refused)
	require.Equal(t, kms.Attempt{At: k.Clock.Now(), Op: kms.OpDecrypt, Code: "Rejected.Disabled"}, u.LastRefused)
	require.Empty(t, u.Attempts)
	require.Empty(t, alarms)

	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
	for i := range 12 {
		k.Clock.Advance(time.Second)
		if i%2 == 0 {
			require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrPendingDeletion)
		} else {
			require.ErrorIs(t, kit.Err(k.Encrypt(ctx, id, nil, nil)), kms.ErrPendingDeletion)
		}
		if i == 5 {
			require.NoError(t, k.Close(ctx))
		}
	}
	require.Len(t, alarms, 12)
	require.Equal(t, kms.NoticeUsedPendingDeletion, alarms[11].Notice)
	require.Equal(t, id, alarms[11].KeyID)
	require.ErrorIs(t, alarms[11].Err, kms.ErrPendingDeletion)
	kit.Maintain(t, k)
	u = keyUsage(t, k.Another(t), id)
	require.EqualValues(t, 13, u.Refused)
	require.Len(t, u.Attempts, 10)
	require.Equal(t, kms.Attempt{At: k.Clock.Now(), Op: kms.OpEncrypt, Code: "Rejected.PendingDeletion"}, u.Attempts[9])
	require.Equal(t, u.LastRefused, u.Attempts[9])
	require.Equal(t, k.Clock.Now().Add(-9*time.Second), u.Attempts[0].At)

	k.Clock.AdvanceDays(7)
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrNotFound)
	require.ErrorIs(t, kit.Err(k.KeyUsage(ctx, id)), kms.ErrNotFound)
}

// TestRefusalsOfOthers: a key store that does not answer refuses nothing because of what a key
// is; and where a ciphertext may be of several keys, the one that refused is the one that is
// told and counted.
func TestRefusalsOfOthers(t *testing.T) {
	ctx := t.Context()
	source, err := transit.New(transitExport("first", 1), transitExport("second", 1))
	require.NoError(t, err)
	var last kms.Event
	k := kmstest.New(t, kit.WithSources(source), func(c *kms.Config) { c.Observe = func(_ context.Context, e kms.Event) { last = e } })
	id := kit.Tenant(t, k, "tenant-7", 30)
	c, err := k.Encrypt(ctx, id, nil, nil)
	require.NoError(t, err)
	require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "tenant-7", true, "")))
	k.Store.OnGet(func(string) error { return errors.New("connection refused") })
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrUnavailable)
	k.Store.OnGet(nil)
	require.Zero(t, keyUsage(t, k.Manager, id).Refused)
	k.Clock.AdvanceDays(30)
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrInstanceExpired)
	require.EqualValues(t, 1, keyUsage(t, k.Manager, id).Refused)

	var ids []string
	for key, err := range k.Keys(ctx, &kms.ListOptions{Owners: []kms.Owner{kms.OwnerLegacy}}) {
		require.NoError(t, err)
		ids = append(ids, key.ID)
	}
	require.Len(t, ids, 2)
	for i, id := range ids {
		require.NoError(t, kit.Err(k.MigrateLegacyKey(ctx, id, "")))
		require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
		require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
		nobodys := transitCiphertext(t, "third", "1")
		require.ErrorIs(t, kit.Err(k.Decrypt(ctx, nobodys, nil)), kms.ErrPendingDeletion)
		require.Equal(t, ids[0], last.KeyID)
		require.Equal(t, kms.NoticeUsedPendingDeletion, last.Notice)
		require.Contains(t, last.Err.Error(), ids[0])
		require.EqualValues(t, i+1, keyUsage(t, k.Manager, ids[0]).Refused)
		require.Zero(t, keyUsage(t, k.Manager, ids[1]).Refused)
	}
}

// TestUsageIsNotLost: what a store that fails did not take is kept for the next time, and many
// goroutines and two processes that keep all the while lose nothing.
func TestUsageIsNotLost(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	down := errors.New("connection refused")
	require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))
	k.Store.OnPut(func(name string) (bool, error) { return !strings.HasPrefix(name, "usage/"), down })
	require.ErrorIs(t, k.Close(ctx), down)
	require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))
	_, err := k.Maintain(ctx)
	require.ErrorIs(t, err, down)
	k.Store.OnPut(nil)
	require.NoError(t, k.Close(ctx))
	require.EqualValues(t, 2, keyUsage(t, k.Another(t), id).Uses())

	nodes := []*kms.Manager{k.Manager, k.Another(t)}
	var uses, keeps sync.WaitGroup
	stop := make(chan struct{})
	for _, m := range nodes {
		for range 4 {
			uses.Go(func() {
				for range 500 {
					_, _ = m.Encrypt(ctx, id, nil, nil)
				}
			})
		}
		keeps.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = m.Close(ctx)
				}
			}
		})
	}
	uses.Wait()
	close(stop)
	keeps.Wait()
	for _, m := range nodes {
		require.NoError(t, m.Close(ctx))
	}
	require.EqualValues(t, 2+2*4*500, keyUsage(t, k.Another(t), id).Uses())
}

// TestTamperedUsage: what somebody else wrote in the place of the usage is as nothing, and stops
// no key.
func TestTamperedUsage(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id, other := k.MustCreateKey(t).ID, k.MustCreateKey(t).ID
	for _, id := range []string{id, other} {
		require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))
	}
	require.NoError(t, k.Close(ctx))
	for _, bad := range [][]byte{nil, []byte("x"), kit.StoredValue(t, k, "usage/"+other), kit.StoredValue(t, k, "key/"+id)} {
		kit.EditItem(t, k, "usage/"+id, func([]byte) []byte { return bad })
		require.Equal(t, kms.KeyUsage{KeyID: id}, keyUsage(t, k.Manager, id))
		require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))
		require.NoError(t, k.Close(ctx))
		require.EqualValues(t, 1, keyUsage(t, k.Manager, id).Uses())
	}
}

// TestBrownout: a share of the uses is refused, typed, until a date and no longer; and no more
// than uses.
func TestBrownout(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	until := k.Clock.Now().Add(time.Hour)
	for _, bad := range []struct {
		share float64
		until time.Time
	}{{-0.1, until}, {1.1, until}, {nan(), until}, {0.5, k.Clock.Now()}, {1, time.Time{}}} {
		require.ErrorIs(t, kit.Err(k.SetBrownout(ctx, id, bad.share, bad.until)), kms.ErrInvalid)
	}
	refusedOf := func(m *kms.Manager, n int) (refused int) {
		for range n {
			err := kit.Err(m.Encrypt(ctx, id, nil, nil))
			if err == nil {
				continue
			}
			require.Equal(t, []string{"ErrBrownout"}, kit.Conditions(err))
			require.Equal(t, "Rejected.Brownout", kms.Code(err))
			var b *kms.BrownoutError
			require.ErrorAs(t, err, &b)
			require.Equal(t, id, b.KeyID)
			require.Equal(t, until, b.Until)
			refused++
		}
		return refused
	}
	key, err := k.SetBrownout(ctx, id, 1, until)
	require.NoError(t, err)
	require.Equal(t, kms.Brownout{Share: 1, Until: until}, key.Brownout)
	require.Equal(t, kms.Enabled, key.State)
	other := k.Another(t)
	require.Equal(t, 20, refusedOf(k.Manager, 20))
	require.Equal(t, 20, refusedOf(other, 20))
	require.NoError(t, kit.Err(k.DescribeKey(ctx, id)))
	require.NoError(t, kit.Err(k.SetTags(ctx, id, nil)))
	x, err := k.Explain(ctx, kms.OpEncrypt, id)
	require.NoError(t, err)
	require.Equal(t, []string{"ErrBrownout"}, kit.Conditions(x.Reasons[0]))

	require.NoError(t, kit.Err(k.SetBrownout(ctx, id, 0.25, until)))
	require.InDelta(t, 1000, refusedOf(k.Manager, 4000), 250, "a share of a quarter, nine standard deviations around it")
	x, err = k.Explain(ctx, kms.OpEncrypt, id)
	require.NoError(t, err)
	require.True(t, x.Allowed)
	require.Equal(t, kms.Brownout{Share: 0.25, Until: until}, x.Brownout)
	u := keyUsage(t, k.Manager, id)
	require.EqualValues(t, 20+4000, u.Uses()+u.Refused, "every use is recorded")
	require.Equal(t, "Rejected.Brownout", u.LastRefused.Code)

	require.NoError(t, kit.Err(k.SetBrownout(ctx, id, 1, until)))
	k.Clock.Set(until.Add(-1))
	require.Equal(t, 1, refusedOf(k.Manager, 1))
	k.Clock.Set(until)
	require.Zero(t, refusedOf(k.Manager, 20))
	require.Zero(t, refusedOf(other, 20), "it ends by itself")
	key, err = k.DescribeKey(ctx, id)
	require.NoError(t, err)
	require.Zero(t, key.Brownout)

	until = until.Add(time.Hour)
	require.NoError(t, kit.Err(k.SetBrownout(ctx, id, 1, until)))
	require.NoError(t, kit.Err(k.SetBrownout(ctx, id, 0, time.Time{})))
	require.Zero(t, refusedOf(k.Manager, 20), "it was ended")
	require.NoError(t, kit.Err(k.SetBrownout(ctx, id, 1e-9, until)))
	key, err = k.DescribeKey(ctx, id)
	require.NoError(t, err)
	require.Equal(t, 1e-6, key.Brownout.Share, "the smallest share is not none")
}

func nan() float64 {
	zero := 0.0
	return zero / zero
}
