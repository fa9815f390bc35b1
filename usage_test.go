package kms_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy/transit"
	"github.com/stretchr/testify/assert"
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
	require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "tenant-7", kms.InstanceProtection{On: true})))
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

// A heldStore calls a function before and after each call of a store.
type heldStore struct {
	keystore.Store
	at func(call, name string, before bool) error
}

func (h *heldStore) Unwrap() keystore.Store { return h.Store }

func (h *heldStore) Get(ctx context.Context, name string) (keystore.Item, error) {
	if err := h.at("Get", name, true); err != nil {
		return keystore.Item{}, err
	}
	item, err := h.Store.Get(ctx, name)
	return item, cmp.Or(h.at("Get", name, false), err)
}

func (h *heldStore) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	if err := h.at("Put", name, true); err != nil {
		return "", err
	}
	version, err := h.Store.Put(ctx, name, old, value)
	return version, cmp.Or(h.at("Put", name, false), err)
}

// TestUsageWhileItIsKept: wherever Maintain is held, at each of its calls of the store, before that is made
// and after it, KeyUsage and PlanDeletion of every key have each use and each refused use, once; also if the
// write fails, if its answer is lost, if another Maintain or Close runs meanwhile, and if another process
// writes the same item.
func TestUsageWhileItIsKept(t *testing.T) {
	down := errors.New("connection reset")
	for _, fault := range []string{"", "refused", "lost", "a second Maintain", "Close", "another process"} {
		t.Run(fault, func(t *testing.T) {
			ctx := t.Context()
			h := &heldStore{Store: new(keystore.Memory), at: func(string, string, bool) error { return nil }}
			k := kmstest.New(t, func(c *kms.Config) { c.Store = h })
			other := k.Another(t, func(c *kms.Config) { c.Store = h.Store })
			type count struct{ uses, refused uint64 }
			var ids []string
			done := map[string]*count{}
			for i := range 3 {
				id := k.MustCreateKey(t).ID
				ids, done[id] = append(ids, id), &count{}
				if i == 2 {
					require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
				}
			}
			k.Clock.AdvanceDays(8)
			use := func() {
				for i, id := range ids {
					if err := kit.Err(k.Encrypt(ctx, id, nil, nil)); i == 2 {
						require.ErrorIs(t, err, kms.ErrDisabled)
						done[id].refused++
					} else {
						require.NoError(t, err)
						done[id].uses++
					}
				}
			}
			look := func(where string) {
				for i, id := range ids {
					u := keyUsage(t, k.Manager, id)
					require.Equal(t, *done[id], count{u.Uses(), u.Refused}, "%s: key %d", where, i)
					plan, err := k.PlanDeletion(ctx, id)
					require.NoError(t, err)
					require.Equal(t, *done[id], count{plan.Usage.Uses(), plan.Usage.Refused}, "%s: the plan of key %d", where, i)
					require.NotEqual(t, kms.VerdictReady, plan.Verdict, where)
					for _, v := range u.Versions {
						require.WithinDuration(t, k.Clock.Now(), v.Last, time.Second, where)
					}
				}
			}
			use()
			held, inside, usagePuts := 0, false, 0
			h.at = func(call, name string, before bool) error {
				if inside {
					return nil
				}
				inside = true
				defer func() { inside = false }()
				held++
				look(fmt.Sprint(call, name, before))
				if held < 30 {
					use()
					look(fmt.Sprint(call, name, before))
				}
				if call != "Put" || !strings.HasPrefix(name, "usage/") {
					return nil
				}
				usagePuts++
				switch fault {
				case "refused", "lost":
					if before == (fault == "refused") && usagePuts < 20 {
						return down
					}
				case "a second Maintain":
					_, _ = k.Maintain(ctx)
				case "Close":
					require.NoError(t, k.Close(ctx))
				case "another process":
					if usagePuts%3 > 0 { // else it would win every race
						break
					}
					for _, id := range ids[:2] {
						require.NoError(t, kit.Err(other.Encrypt(ctx, id, nil, nil)))
					}
					require.NoError(t, other.Close(ctx))
					for _, id := range ids[:2] {
						done[id].uses++
					}
				}
				look(fmt.Sprint(call, name, before))
				return nil
			}
			for range 8 {
				_, err := k.Maintain(ctx)
				if err != nil {
					require.ErrorIs(t, err, down)
				}
				inside = true
				look("after a pass")
				inside = false
			}
			require.Greater(t, held, 30)
			h.at = func(string, string, bool) error { return nil }
			require.NoError(t, k.Close(ctx))
			for _, id := range ids {
				u := keyUsage(t, k.Another(t), id)
				require.Equal(t, *done[id], count{u.Uses(), u.Refused}, "in the store")
			}
		})
	}
}

// TestUsageWhileItIsRead: whatever is kept while KeyUsage reads the store, it is neither missed nor counted
// twice.
func TestUsageWhileItIsRead(t *testing.T) {
	ctx := t.Context()
	for _, when := range []bool{true, false} {
		for _, lost := range []bool{false, true} {
			h := &heldStore{Store: new(keystore.Memory), at: func(string, string, bool) error { return nil }}
			k := kmstest.New(t, func(c *kms.Config) { c.Store = h })
			id := k.MustCreateKey(t).ID
			for n := range uint64(5) {
				require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))
				once := true
				h.at = func(call, name string, before bool) error {
					switch {
					case once && call == "Get" && name == "usage/"+id && before == when:
						once = false
						_ = k.Close(ctx)
					case lost && call == "Put" && !before:
						return errors.New("connection reset")
					}
					return nil
				}
				require.Equal(t, n+1, keyUsage(t, k.Manager, id).Uses(), "kept before the answer: %t, lost: %t", when, lost)
				require.False(t, once)
			}
		}
	}
}

// TestUsageUnderLoad: what KeyUsage and PlanDeletion say is at least what was done before they were asked,
// and at most what was begun before they answered.
func TestUsageUnderLoad(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	var ids []string
	var begun, over [4]atomic.Uint64
	for range begun {
		ids = append(ids, k.MustCreateKey(t).ID)
	}
	var work sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					assert.NoError(t, kit.Err(k.Maintain(ctx)))
				}
			}
		})
		work.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				i := n % len(ids)
				begun[i].Add(1)
				if assert.NoError(t, kit.Err(k.Encrypt(ctx, ids[i], nil, nil))) {
					over[i].Add(1)
				}
			}
		})
	}
	for n := range 2000 {
		i := n % len(ids)
		least := over[i].Load()
		var u kms.KeyUsage
		if n%8 < 4 {
			u = keyUsage(t, k.Manager, ids[i])
		} else {
			plan, err := k.PlanDeletion(ctx, ids[i])
			require.NoError(t, err)
			u = plan.Usage
		}
		most := begun[i].Load()
		if u.Uses() < least || u.Uses() > most {
			close(stop)
			t.Fatalf("look %d: %d uses are known, which is not in %d to %d", n, u.Uses(), least, most)
		}
		if u.Uses() > 0 {
			assert.False(t, u.Last().Last.Before(k.Clock.Now()), "a use without its date")
		}
	}
	close(stop)
	work.Wait()
	require.NoError(t, k.Close(ctx))
	for i, id := range ids {
		require.Equal(t, over[i].Load(), keyUsage(t, k.Another(t), id).Uses())
	}
}
