package kms_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// A house is a key store with something of everything, and what shows that it is all there.
type house struct {
	*kmstest.KMS
	keys    map[string]kms.State // by ID, as they are to be
	opens   map[string][]byte    // by ID, ciphertexts of those that are Enabled
	second  string               // an imported key without its material
	wrapped []byte
	token   []byte
}

// newHouse makes one: in the default instance, or one by that name.
func newHouse(t *testing.T, instance string) *house {
	t.Helper()
	ctx := t.Context()
	h := &house{KMS: kit.New(t), keys: map[string]kms.State{}, opens: map[string][]byte{}}
	if instance != kms.DefaultInstance {
		require.NoError(t, kit.Err(h.CreateInstance(ctx, &kms.InstanceOptions{ID: instance})))
	}
	use := func(id string) {
		c, err := h.Encrypt(ctx, id, []byte("x"), nil)
		require.NoError(t, err)
		h.keys[id], h.opens[id] = kms.Enabled, c
	}
	first := kit.KeyIn(t, h.KMS, instance)
	use(first)
	require.NoError(t, kit.Err(h.RotateKey(ctx, first)))
	imported, _, _ := kit.ImportedKeyIn(t, h.KMS, instance, kit.Material())
	use(imported)
	require.NoError(t, h.CreateAlias(ctx, "alias/first", first))
	h.second, h.wrapped, h.token = kit.ImportedKeyIn(t, h.KMS, instance, kit.Material())
	require.NoError(t, kit.Err(h.DeleteKeyMaterial(ctx, h.second, nil)))
	h.keys[h.second] = kms.PendingImport
	disabled := kit.KeyIn(t, h.KMS, instance)
	require.NoError(t, kit.Err(h.DisableKey(ctx, disabled)))
	h.keys[disabled] = kms.Disabled
	gone, pending := kit.KeyIn(t, h.KMS, instance), kit.KeyIn(t, h.KMS, instance)
	kit.Purge(t, h.KMS, gone)
	require.NoError(t, kit.Err(h.DisableKey(ctx, pending)))
	require.NoError(t, kit.Err(h.ScheduleKeyDeletion(ctx, pending, 7)))
	h.keys[pending] = kms.PendingDeletion
	use(kit.Tenant(t, h.KMS, "another", 0))
	return h
}

// check is sure that a Manager finds everything as it was.
func (h *house) check(t *testing.T, m *kms.Manager) {
	t.Helper()
	ctx := t.Context()
	listed := map[string]kms.State{}
	for key, err := range m.Keys(ctx, nil) {
		require.NoError(t, err)
		listed[key.ID] = key.State
	}
	require.Equal(t, h.keys, listed)
	for id, c := range h.opens {
		plain, err := m.Decrypt(ctx, c, nil)
		require.NoError(t, err)
		require.Equal(t, "x", string(plain))
		require.NoError(t, kit.Err(m.Encrypt(ctx, id, nil, nil)))
		require.NoError(t, kit.Err(m.SetDescription(ctx, id, "")))
	}
	require.NoError(t, kit.Err(m.DescribeKey(ctx, "alias/first")))
	usage, err := m.KeyUsage(ctx, "alias/first")
	require.NoError(t, err)
	require.NotZero(t, usage.Uses())
	report, err := m.Maintain(ctx)
	require.NoError(t, err)
	require.Empty(t, report.Tampered)
	for _, err := range m.Instances(ctx) {
		require.NoError(t, err)
	}
}

// same are the items that an instance authenticates and that are, byte for byte, what they were.
func (h *house) same(t *testing.T, before []keystore.Item, instance string) (same []string) {
	for _, item := range before {
		mine := bytes.HasPrefix(item.Value, append([]byte{1, byte(len(instance))}, instance...)) || item.Name == "instance/"+instance
		if mine && bytes.Equal(kit.StoredValue(t, h.KMS, item.Name), item.Value) {
			same = append(same, item.Name)
		}
	}
	return same
}

// dieAt kills whoever writes at the n-th write, which may still take effect; nothing is written
// after it, until the hook is taken away.
func dieAt(k *kmstest.KMS, n int64, applied bool) {
	var puts atomic.Int64
	k.Store.OnPut(func(string) (bool, error) {
		now := puts.Add(1)
		if now < n {
			return true, nil
		}
		return applied && now == n, errors.New("killed")
	})
}

var shreddable = []string{kms.DefaultInstance, "tenant-7"}

// TestShred: afterwards not an item of the instance is what it was, everything works for
// every Manager, and import tokens of before do not.
func TestShred(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		for _, instance := range shreddable {
			t.Run(instance, func(t *testing.T) {
				ctx := t.Context()
				h := newHouse(t, instance)
				running, asleep := h.Another(t), h.Another(t)
				h.check(t, running)
				before := kit.StoredItems(t, h.KMS)
				for n := range 3 {
					shredded, err := h.Shred(ctx, instance)
					require.NoError(t, err)
					require.Equal(t, h.Clock.Now(), shredded.KeyedAt)
					require.False(t, shredded.Shredding)
					require.Empty(t, h.same(t, before, instance))
					require.NotContains(t, string(kit.StoredValue(t, h.KMS, "instance/"+instance)), `"former"`)
					for _, m := range []*kms.Manager{h.Manager, running, h.Another(t)} {
						h.check(t, m)
					}
					before = kit.StoredItems(t, h.KMS)
					h.Clock.Advance(time.Duration(n) * time.Second)
				}
				h.check(t, asleep)
				err := kit.Err(h.ImportKeyMaterial(ctx, h.second, h.wrapped, h.token, time.Time{}))
				require.Equal(t, []string{"ErrImportToken"}, kit.Conditions(err))
				wrapped, token := kit.WrapMaterial(t, h.KMS, h.second, kit.Material())
				key, err := asleep.ImportKeyMaterial(ctx, h.second, wrapped, token, time.Time{})
				require.NoError(t, err)
				require.Equal(t, kms.Enabled, key.State)
				require.NoError(t, kit.Err(h.Encrypt(ctx, h.second, nil, nil)))
			})
		}
	})
}

// TestShredStates: in which states of an instance it may be done.
func TestShredStates(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := kit.Tenant(t, k, "tenant-7", 10)
	c, err := k.Encrypt(ctx, id, []byte("x"), nil)
	require.NoError(t, err)
	for _, row := range []struct {
		days  int
		state kms.InstanceState
		err   error
	}{{0, kms.InstanceActive, nil}, {10, kms.InstanceExpired, nil}, {15, kms.InstanceReleased, kms.ErrNotFound}} {
		k.Clock.AdvanceDays(row.days)
		shredded, err := k.Shred(ctx, "tenant-7")
		require.ErrorIs(t, err, row.err, row.state)
		if row.err == nil {
			require.Equal(t, row.state, shredded.State)
		}
	}
	k.Clock.AdvanceDays(-15)
	require.NoError(t, kit.Err(k.RenewInstance(ctx, "tenant-7", time.Time{})))
	require.NoError(t, kit.Err(k.Decrypt(ctx, c, nil)))
	require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "tenant-7", kms.InstanceProtection{On: true})))
	require.NoError(t, kit.Err(k.Shred(ctx, "tenant-7")), "protected")
	require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "tenant-7", kms.InstanceProtection{})))
	require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "tenant-7", kit.Force())))
	require.Equal(t, []string{"ErrNotFound"}, kit.Conditions(kit.Err(k.Shred(ctx, "tenant-7"))))
	require.Equal(t, []string{"ErrNotFound"}, kit.Conditions(kit.Err(k.Shred(ctx, "nobody"))))
	require.Equal(t, []string{"ErrInvalid"}, kit.Conditions(kit.Err(k.Shred(ctx, "NOBODY"))))
}

// TestShredKilled kills it at each of its writes, before and after the write took effect: all goes
// on for every Manager, the next call finishes, and with the key that was begun with.
func TestShredKilled(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		for _, instance := range shreddable {
			for _, applied := range []bool{false, true} {
				h := newHouse(t, instance)
				running := h.Another(t)
				begun := time.Time{}
				killed := 0
				for at := int64(1); ; at += int64(kit.OnMemory(t, 1, 3)) {
					before := kit.StoredItems(t, h.KMS)
					m := h.Another(t)
					dieAt(h.KMS, at, applied)
					done, err := m.Shred(t.Context(), instance)
					h.Store.OnPut(nil)
					if err == nil {
						require.Greater(t, at, int64(6))
						require.Empty(t, h.same(t, before, instance))
						break
					}
					killed++
					require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err))
					require.Zero(t, done)
					in, err := running.DescribeInstance(t.Context(), instance)
					require.NoError(t, err)
					for _, m := range []*kms.Manager{m, running, h.Another(t)} {
						h.check(t, m)
					}
					if in.Shredding {
						if begun.IsZero() {
							begun = in.KeyedAt
						}
						require.Equal(t, begun, in.KeyedAt)
						h.Clock.Advance(time.Second)
						finished, err := h.Another(t).Shred(t.Context(), instance)
						require.NoError(t, err)
						require.Equal(t, begun, finished.KeyedAt, "it began anew")
						require.False(t, finished.Shredding)
						h.check(t, running)
						begun = time.Time{}
					}
				}
				require.Greater(t, killed, kit.OnMemory(t, 6, 2))
			}
		}
	})
}

// TestShredMeanwhile: many Managers create, change and use while others shred; nothing that was
// acknowledged is lost, and nothing is told as tampered with when all is over.
func TestShredMeanwhile(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		for _, instance := range shreddable {
			t.Run(instance, func(t *testing.T) {
				ctx := t.Context()
				h := newHouse(t, instance)
				var all sync.WaitGroup
				var mu sync.Mutex
				for w := range 4 {
					m := h.Another(t)
					all.Go(func() {
						for n := range 15 {
							key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Instance: instance})
							if err != nil {
								t.Errorf("CreateKey: %v", err)
								return
							}
							c, err := m.Encrypt(ctx, key.ID, []byte("x"), nil)
							if err == nil && n%3 == 0 {
								err = m.CreateAlias(ctx, "alias/"+strings.Repeat("w", w+1)+strings.Repeat("n", n), key.ID)
							}
							if err == nil {
								err = kit.Err(m.SetDescription(ctx, key.ID, "mine"))
							}
							if err == nil && n%5 == 0 {
								err = unlessTampered(kit.Err(m.Maintain(ctx)))
							}
							if err != nil {
								t.Errorf("%d: %v", n, err)
								return
							}
							mu.Lock()
							h.keys[key.ID], h.opens[key.ID] = kms.Enabled, c
							mu.Unlock()
						}
					})
				}
				for range 2 {
					m := h.Another(t)
					all.Go(func() {
						for range 5 {
							if err := unlessTampered(kit.Err(m.Shred(ctx, instance))); err != nil {
								t.Errorf("Shred: %v", err)
							}
						}
					})
				}
				all.Wait()
				h.check(t, h.Manager)
				h.check(t, h.Another(t))
				require.Len(t, aliases(t, h.KMS, ""), 1+4*5)
				in, err := h.DescribeInstance(ctx, instance)
				require.NoError(t, err)
				require.False(t, in.Shredding)
			})
		}
	})
}

// unlessTampered lets that pass which is told of a key that another Manager is just creating with a
// key of two Shreds ago. What lasts is found afterwards.
func unlessTampered(err error) error {
	if errors.Is(err, kms.ErrTampered) {
		return nil
	}
	return err
}

// TestShredMissesNothing: a Manager that knows nothing of a Shred creates something while it is
// done and has passed the place; what it made can be read, by it and by others.
func TestShredMissesNothing(t *testing.T) {
	for name, wrap := range kit.Wraps() {
		for _, instance := range shreddable {
			t.Run(name+"/"+instance, func(t *testing.T) {
				ctx := t.Context()
				k, slow, _ := kit.TwoProcesses(t, wrap, time.Hour)
				first := kit.Tenant(t, k, "tenant-7", 0)
				if instance == kms.DefaultInstance {
					first = k.MustCreateKey(t).ID
				}
				require.NoError(t, kit.Err(slow.Encrypt(ctx, first, nil, nil)))
				require.NoError(t, kit.Err(k.Shred(ctx, instance)))
				require.NoError(t, kit.Err(k.Shred(ctx, instance)))
				key, err := slow.CreateKey(ctx, &kms.CreateKeyOptions{Instance: instance})
				require.NoError(t, err)
				require.NoError(t, slow.CreateAlias(ctx, "alias/late", key.ID))
				require.NoError(t, kit.Err(slow.CreateInstance(ctx, &kms.InstanceOptions{ID: "late"})))
				c, err := slow.Encrypt(ctx, "alias/late", []byte("x"), nil)
				require.NoError(t, err)
				require.NoError(t, slow.Close(ctx))
				for _, m := range []*kms.Manager{slow, k.Manager, k.Another(t)} {
					require.NoError(t, kit.Err(m.Decrypt(ctx, c, nil)))
					require.NoError(t, kit.Err(m.Encrypt(ctx, "alias/late", nil, nil)))
					require.NoError(t, kit.Err(m.Encrypt(ctx, first, nil, nil)))
					require.NoError(t, kit.Err(m.DisableKey(ctx, key.ID)))
					require.NoError(t, kit.Err(m.EnableKey(ctx, key.ID)))
					require.NoError(t, kit.Err(m.DescribeInstance(ctx, "late")))
					require.NoError(t, kit.Err(m.KeyUsage(ctx, key.ID)))
					require.NoError(t, kit.Err(m.Maintain(ctx)))
				}
			})
		}
	}
}

// TestShredMissesNoItem: the same for what the default instance authenticates, where nothing that
// is read before would have told that it was shredded.
func TestShredMissesNoItem(t *testing.T) {
	for name, wrap := range kit.Wraps() {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			k, slow, _ := kit.TwoProcesses(t, wrap, time.Hour)
			id := kit.Tenant(t, k, "tenant-7", 0)
			require.NoError(t, kit.Err(slow.Encrypt(ctx, id, nil, nil)))
			counting := k.Another(t)
			require.NoError(t, kit.Err(counting.Encrypt(ctx, id, nil, nil)))
			for range 2 {
				require.NoError(t, kit.Err(k.Shred(ctx, kms.DefaultInstance)))
			}
			require.NoError(t, slow.CreateAlias(ctx, "alias/late", id))
			require.NoError(t, counting.Close(ctx))
			for _, m := range []*kms.Manager{k.Manager, k.Another(t)} {
				require.NoError(t, kit.Err(m.Encrypt(ctx, "alias/late", nil, nil)))
				usage, err := m.KeyUsage(ctx, id)
				require.NoError(t, err)
				require.EqualValues(t, 2, usage.Uses(), "one that was kept, and one of this Manager")
			}
		})
	}
}

// TestShredAndRoot: a root that was rotated by another process does not shred, and one that is
// rotated between a Shred that was killed and the next is the one that finishes.
func TestShredAndRoot(t *testing.T) {
	for _, instance := range shreddable {
		t.Run(instance, func(t *testing.T) {
			ctx := t.Context()
			h := newHouse(t, instance)
			stale, next := h.Another(t), kit.Root(t, 2)
			dieAt(h.KMS, 2, false)
			require.ErrorIs(t, kit.Err(h.Shred(ctx, instance)), kms.ErrUnavailable)
			h.Store.OnPut(nil)
			require.NoError(t, h.RotateRoot(ctx, next))
			require.ErrorIs(t, kit.Err(stale.Shred(ctx, instance)), kms.ErrRoot)
			anew := h.Another(t, func(c *kms.Config) { c.Root = next })
			in, err := anew.Shred(ctx, instance)
			require.NoError(t, err)
			require.False(t, in.Shredding)
			h.check(t, anew)
			h.check(t, h.Manager)
			require.NoError(t, kit.Err(anew.Shred(ctx, instance)))
			h.check(t, anew)
			_, old := kms.Open(ctx, h.ConfigWith())
			require.ErrorIs(t, old, kms.ErrRoot)
		})
	}
}

// TestShredAndBackup: a backup that is made while an instance is shredded holds every key, and one
// of before restores into the instance as it is, and into another key store.
func TestShredAndBackup(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		for _, instance := range shreddable {
			t.Run(instance, func(t *testing.T) {
				ctx := t.Context()
				h, recipient := newHouse(t, instance), kit.Root(t, 7)
				before := kit.Backup(t, h.Manager, instance, recipient)
				backups := [][]byte{before}
				for put := int64(2); put < 6; put += 3 {
					dieAt(h.KMS, put, false)
					require.Error(t, kit.Err(h.Shred(ctx, instance)))
					h.Store.OnPut(nil)
					backups = append(backups, kit.Backup(t, h.Manager, instance, recipient), kit.Backup(t, h.Another(t), instance, recipient))
					require.Empty(t, kit.Restore(t, h.Manager, before, recipient, nil).Skipped)
					require.NoError(t, kit.Err(h.Shred(ctx, instance)))
				}
				h.check(t, h.Manager)
				for _, b := range append(backups, kit.Backup(t, h.Manager, instance, recipient)) {
					info, err := kms.VerifyBackup(ctx, bytes.NewReader(b), recipient)
					require.NoError(t, err)
					require.Zero(t, info.Tampered)
					require.Equal(t, 6, info.Keys)
					report := kit.Restore(t, h.Manager, b, recipient, nil)
					require.Empty(t, report.Skipped)
					require.Equal(t, 6, report.Unchanged+len(report.Merged))
					elsewhere := kmstest.New(t)
					kit.Restore(t, elsewhere.Manager, b, recipient, nil)
					for _, id := range slices.Sorted(maps.Keys(h.opens)) {
						if key, err := h.DescribeKey(ctx, id); err == nil && key.Instance == instance {
							require.NoError(t, kit.Err(elsewhere.Decrypt(ctx, h.opens[id], nil)))
						}
					}
				}
				if instance != kms.DefaultInstance {
					require.NoError(t, kit.Err(h.Shred(ctx, instance)))
					require.ErrorIs(t, kit.Err(h.ReleaseInstance(ctx, instance, nil)), kms.ErrNoBackup)
					last := kit.Backup(t, h.Manager, instance, recipient)
					require.NoError(t, kit.Err(h.ReleaseInstance(ctx, instance, nil)))
					kit.Restore(t, h.Manager, last, recipient, nil)
					h.check(t, h.Another(t))
					require.NoError(t, kit.Err(h.Shred(ctx, instance)))
					h.check(t, h.Another(t))
				}
			})
		}
	})
}
