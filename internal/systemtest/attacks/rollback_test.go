package attacks_test

import (
	"bytes"
	"context"
	"iter"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestSlowReadIsNoAttack: a read that was sent before a change of the same Manager, and came
// back after it, may hold what was there then.
func TestSlowReadIsNoAttack(t *testing.T) {
	ctx := t.Context()
	k, _, s := kit.TwoProcesses(t, kit.Wraps()["own"], 0)
	id := k.MustCreateKey(t).ID
	slowly := &slowReads{Store: s, read: make(chan struct{}), goOn: make(chan struct{})}
	m := k.Another(t, func(c *kms.Config) { c.Store = slowly })
	slow := make(chan error)
	go func() { slow <- kit.Err(m.Encrypt(context.WithValue(ctx, slowly, true), id, nil, nil)) }()
	<-slowly.read
	require.NoError(t, kit.Err(m.DisableKey(ctx, id)))
	close(slowly.goOn)
	require.NoError(t, <-slow)
	require.ErrorIs(t, kit.Err(m.Encrypt(ctx, id, nil, nil)), kms.ErrDisabled)
}

// slowReads holds the readers whose context names it between reading and returning.
type slowReads struct {
	keystore.Store
	read, goOn chan struct{}
}

func (s *slowReads) Unwrap() keystore.Store { return s.Store }

func (s *slowReads) Get(ctx context.Context, name string) (keystore.Item, error) {
	item, err := s.Store.Get(ctx, name)
	if ctx.Value(s) != nil {
		s.read <- struct{}{}
		<-s.goOn
	}
	return item, err
}

// TestFailoverIsNoAttack: where the feed of a shared store went back, what is older than what
// was known is what there is; where it did not, or there is no feed that could, it is an attack.
func TestFailoverIsNoAttack(t *testing.T) {
	for _, name := range []string{"feed", "plain", "own"} {
		for _, lost := range []keystore.Cursor{0, 9} {
			ctx := t.Context()
			k, _, s := kit.TwoProcesses(t, kit.Wraps()[name], time.Hour)
			id := k.MustCreateKey(t).ID
			require.NoError(t, k.CreateAlias(ctx, "alias/a", id))
			second := kit.Tenant(t, k, "tenant-7", 10)
			require.NoError(t, k.UpdateAlias(ctx, "alias/a", id))
			old := kit.StoredItems(t, k)
			require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
			require.NoError(t, k.UpdateAlias(ctx, "alias/a", second))
			require.NoError(t, kit.Err(k.RenewInstance(ctx, "tenant-7", time.Time{})))
			k.Clock.Advance(2 * time.Hour)
			require.NoError(t, kit.Err(k.Encrypt(ctx, "alias/a", nil, nil)), "it knows the positions")
			for _, item := range old {
				kit.PutItem(t, k, item.Name, item.Value)
			}
			s.Lost = lost
			k.Clock.Advance(2 * time.Hour)
			for _, err := range []error{
				kit.Err(k.DescribeKey(ctx, id)), kit.Err(k.DescribeInstance(ctx, "tenant-7")), k.UpdateAlias(ctx, "alias/a", id),
			} {
				if name == "feed" && lost > 0 {
					require.NoError(t, err)
				} else {
					require.Equal(t, []string{"ErrTampered"}, kit.Conditions(err), name)
				}
			}
		}
	}
}

// TestOlderInLists: what a list has of a key and is older than what is known is read again: it
// is what the list had when it began, or it was put back.
func TestOlderInLists(t *testing.T) {
	ctx := t.Context()
	k, _, s := kit.TwoProcesses(t, kit.Wraps()["own"], 0)
	id, other := k.MustCreateKey(t).ID, k.MustCreateKey(t).ID
	m := k.Another(t, func(c *kms.Config) { c.Store = &snapshots{s} })
	states := map[string]kms.State{}
	for key, err := range m.Keys(ctx, nil) {
		require.NoError(t, err)
		states[key.ID] = key.State
		if key.ID == id {
			require.NoError(t, kit.Err(m.DisableKey(ctx, other)))
		}
	}
	require.Equal(t, map[string]kms.State{id: kms.Enabled, other: kms.Disabled}, states)

	old := kit.StoredValue(t, k, "key/"+id)
	require.NoError(t, kit.Err(m.DisableKey(ctx, id)))
	kit.PutItem(t, k, "key/"+id, old)
	failed := map[string]bool{}
	for key, err := range m.Keys(ctx, nil) {
		failed[key.ID] = err != nil
	}
	require.Equal(t, map[string]bool{id: true, other: false}, failed)
	report, err := m.Maintain(ctx)
	require.ErrorIs(t, err, kms.ErrTampered)
	require.Equal(t, []string{id}, report.Tampered)
}

// snapshots is a store whose lists are all of when they began.
type snapshots struct{ keystore.Store }

func (s *snapshots) Unwrap() keystore.Store { return s.Store }

func (s *snapshots) List(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	return func(yield func(keystore.Item, error) bool) {
		var all []keystore.Item
		for item, err := range s.Store.List(ctx, prefix, after) {
			if err != nil {
				yield(item, err)
				return
			}
			all = append(all, item)
		}
		for _, item := range all {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// TestRestoreLeavesWhatWasPutBack: a record that is older than one that was known, or was taken
// away, is not a key to be brought back over.
func TestRestoreLeavesWhatWasPutBack(t *testing.T) {
	for name, attack := range map[string]func(*testing.T, *lossy, func(string), string){
		"put back":   func(_ *testing.T, _ *lossy, putBack func(string), name string) { putBack(name) },
		"taken away": func(_ *testing.T, s *lossy, _ func(string), name string) { s.gone[name] = true },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			s := &lossy{Store: new(keystore.Memory), gone: map[string]bool{}}
			k := kit.New(t, func(c *kms.Config) { c.Store = s })
			id, c := kit.UsedKey(t, k)
			recipient := kit.Root(t, 7)
			backup := kit.Backup(t, k.Manager, kms.DefaultInstance, recipient)
			old := kit.StoredValue(t, k, "key/"+id)
			kit.Purge(t, k, id)
			attack(t, s, func(name string) { kit.PutItem(t, k, name, old) }, "key/"+id)
			report := kit.Restore(t, k.Manager, backup, recipient, nil)
			require.Equal(t, []kms.SkippedItem{{KeyID: id, Why: kms.SkippedTampered}}, report.Skipped)
			require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrTampered)
		})
	}
}

// TestRollbackUnknown: where what is read is older than what was known, and it cannot be asked
// whether the store lost writes, nobody is accused: it is ErrUnavailable, nothing is written, and the
// answer comes when it can be asked.
func TestRollbackUnknown(t *testing.T) {
	ctx := t.Context()
	store := new(kit.Shared)
	k := kmstest.New(t, func(c *kms.Config) { c.Store, c.MaxStaleness = store, time.Hour })
	id := k.MustCreateKey(t).ID
	tenanted := kit.Tenant(t, k, "acme", 10)
	require.NoError(t, k.CreateAlias(ctx, "alias/a", id))
	sound := k.MustCreateKey(t).ID
	backup := kit.Backup(t, k.Manager, kms.DefaultInstance, k.Root)
	old := kit.StoredItems(t, k)
	require.NoError(t, kit.Err(k.SetDescription(ctx, id, "d")))
	require.NoError(t, kit.Err(k.SetDescription(ctx, tenanted, "d")))
	require.NoError(t, k.UpdateAlias(ctx, "alias/a", tenanted))
	require.NoError(t, kit.Err(k.RenewInstance(ctx, "acme", time.Time{})))
	for _, item := range old {
		kit.PutItem(t, k, item.Name, item.Value)
	}
	before := kit.StoredItems(t, k)
	for _, silent := range []bool{true, false} {
		store.Down.Store(silent)
		for name, err := range map[string]error{
			"a key":       kit.Err(k.SetDescription(ctx, id, "e")),
			"an alias":    k.UpdateAlias(ctx, "alias/a", sound),
			"an instance": kit.Err(k.DescribeInstance(ctx, "acme")),
		} {
			if silent {
				require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err), "%s: %v", name, err)
				require.ErrorContains(t, err, "connection refused", name)
			} else {
				require.Equal(t, []string{"ErrTampered"}, kit.Conditions(err), "%s: %v", name, err)
			}
		}
		report, err := k.Restore(ctx, bytes.NewReader(backup), k.Root, nil)
		if silent {
			require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err))
			require.ErrorContains(t, err, "connection refused")
		} else {
			require.NoError(t, err)
			require.Equal(t, []kms.SkippedItem{{KeyID: id, Why: kms.SkippedTampered}, {KeyID: id, Alias: "alias/a", Why: kms.SkippedTampered}}, report.Skipped)
		}
		require.Equal(t, before, kit.StoredItems(t, k))
	}
}

// TestOpenOnSilentStore: a store that cannot be asked what others did is not begun with.
func TestOpenOnSilentStore(t *testing.T) {
	store := new(kit.Shared)
	k := kmstest.New(t, func(c *kms.Config) { c.Store, c.MaxStaleness = store, time.Hour })
	store.Down.Store(true)
	_, err := kms.Open(t.Context(), k.ConfigWith())
	require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err))
	require.ErrorContains(t, err, "connection refused")
}
