package kms_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestRelease: one write, and every key of the instance is gone for every Manager; what leads
// to the keys is gone from the store; others go on; the ID is not used again.
func TestRelease(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		id, other := kit.Tenant(t, k, "tenant-7", 0), kit.Tenant(t, k, "tenant-8", 0)
		require.NoError(t, k.CreateAlias(ctx, "alias/seven", id))
		c, err := k.Encrypt(ctx, id, []byte("x"), nil)
		require.NoError(t, err)
		second := k.Another(t)
		require.NoError(t, kit.Err(second.Decrypt(ctx, c, nil)))

		var puts []string
		k.Store.OnPut(func(name string) (bool, error) { puts = append(puts, name); return true, nil })
		released, err := k.ReleaseInstance(ctx, "tenant-7", kit.Force())
		require.NoError(t, err)
		require.Equal(t, []string{"instance/tenant-7"}, puts)
		k.Store.OnPut(nil)
		require.Equal(t, kms.InstanceReleased, released.State)
		require.Equal(t, k.Clock.Now(), released.ReleasedAt)
		require.NotContains(t, string(kit.StoredValue(t, k, "instance/tenant-7")), `"seals"`, "the sealed instance key is left")

		for _, m := range []*kms.Manager{k.Manager, second, k.Another(t)} {
			require.Equal(t, kms.InstanceReleased, instanceState(t, m, "tenant-7"))
			for _, err := range []error{
				kit.Err(m.Decrypt(ctx, c, nil)), kit.Err(m.DescribeKey(ctx, id)), kit.Err(m.Encrypt(ctx, "alias/seven", nil, nil)), kit.Err(m.EnableKey(ctx, id)),
				kit.Err(m.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "tenant-7"})), kit.Err(m.ReleaseInstance(ctx, "tenant-7", kit.Force())),
				kit.Err(m.RenewInstance(ctx, "tenant-7", time.Time{})), kit.Err(m.SetInstanceDeletionProtection(ctx, "tenant-7", kms.InstanceProtection{On: true})),
			} {
				require.Equal(t, []string{"ErrNotFound"}, kit.Conditions(err))
				require.Contains(t, kms.Hint(err), "Restore")
			}
			for key, err := range m.Keys(ctx, nil) {
				require.NoError(t, err)
				require.NotEqual(t, id, key.ID)
			}
			require.NoError(t, kit.Err(m.Encrypt(ctx, other, nil, nil)))
		}
		report := kit.Maintain(t, k)
		require.Equal(t, kms.Report{Keys: 1}, report, "there is nothing left to do")
		require.ErrorIs(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "tenant-7"})), kms.ErrExists)
		require.NoError(t, k.CreateAlias(ctx, "alias/seven", other), "the name of a key that is gone is free")
	})
}

// TestReleaseIsObeyed: at once by the Manager that did it, and by another within MaxStaleness,
// whatever the key store can do.
func TestReleaseIsObeyed(t *testing.T) {
	for name, wrap := range kit.Wraps() {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			k, other, _ := kit.TwoProcesses(t, wrap, time.Hour)
			id := kit.Tenant(t, k, "tenant-7", 0)
			for _, m := range []*kms.Manager{k.Manager, other} {
				require.NoError(t, kit.Err(m.Encrypt(ctx, id, nil, nil)))
			}
			require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "tenant-7", kit.Force())))
			require.Zero(t, kms.Cached(k.Manager), "opened keys are left in memory")
			require.ErrorIs(t, kit.Err(k.Encrypt(ctx, id, nil, nil)), kms.ErrNotFound)
			require.ErrorIs(t, kit.Err(k.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "tenant-7"})), kms.ErrNotFound)
			k.Clock.Advance(time.Hour)
			require.ErrorIs(t, kit.Err(other.Encrypt(ctx, id, nil, nil)), kms.ErrNotFound)
			require.ErrorIs(t, kit.Err(other.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "tenant-7"})), kms.ErrNotFound)
		})
	}
}

// TestReleaseRefused: without a backup, while it is protected, and the default instance ever.
func TestReleaseRefused(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		id := kit.Tenant(t, k, "tenant-7", 0)
		require.ErrorIs(t, kit.Err(k.ReleaseInstance(ctx, "tenant-7", nil)), kms.ErrNoBackup)
		require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "tenant-7", kms.InstanceProtection{On: true, Reason: "until the audit"})))
		err := kit.Err(k.ReleaseInstance(ctx, "tenant-7", kit.Force()))
		var protected *kms.ProtectedError
		require.ErrorAs(t, err, &protected)
		require.Equal(t, "tenant-7", protected.Instance)
		require.Equal(t, "until the audit", protected.Why)
		require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "tenant-7", kms.InstanceProtection{})))
		require.ErrorIs(t, kit.Err(k.ReleaseInstance(ctx, kms.DefaultInstance, kit.Force())), kms.ErrUnsupported)
		require.ErrorIs(t, kit.Err(k.ReleaseInstance(ctx, "nobody", kit.Force())), kms.ErrNotFound)
		require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))
	})
}

// TestReleaseByExpiry: noted when the grace is first seen over, physical PurgeDelay later; the
// protection of the instance does not stop it; and a clock that was set right does.
func TestReleaseByExpiry(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		id := kit.Tenant(t, k, "tenant-7", 10)
		require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "tenant-7", kms.InstanceProtection{On: true})))
		begin := k.Clock.Now()
		sealed := func() bool {
			return len(kit.StoredValue(t, k, "instance/tenant-7")) > 0 && kms.IsSealed(kit.StoredValue(t, k, "instance/tenant-7"))
		}

		k.Clock.AdvanceDays(400) // it jumped
		require.Equal(t, []string{"tenant-7"}, kit.Maintain(t, k).Instances.Noted)
		require.ErrorIs(t, kit.Err(k.DescribeKey(ctx, id)), kms.ErrNotFound, "the state follows the clock at once")
		k.Clock.Set(begin.Add(time.Hour))
		require.Empty(t, kit.Maintain(t, k).Instances.Noted)
		require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))

		k.Clock.Set(begin.AddDate(0, 0, 25).Add(-1))
		require.Empty(t, kit.Maintain(t, k).Instances.Noted)
		k.Clock.Advance(1)
		require.Equal(t, []string{"tenant-7"}, kit.Maintain(t, k).Instances.Noted)
		k.Clock.Advance(24*time.Hour - 1)
		require.Equal(t, []string{"tenant-7"}, kit.Maintain(t, k).Instances.Waiting)
		require.True(t, sealed())
		k.Clock.Advance(1)
		require.Equal(t, []string{"tenant-7"}, kit.Maintain(t, k).Instances.Released)
		require.False(t, sealed())
		require.Equal(t, kms.Report{}, kit.Maintain(t, k))
		k.Clock.Set(begin)
		require.ErrorIs(t, kit.Err(k.DescribeKey(ctx, id)), kms.ErrNotFound, "what was destroyed stays so")
		require.Equal(t, kms.InstanceReleased, instanceState(t, k.Manager, "tenant-7"))
	}, func(c *kms.Config) { c.PurgeDelay = 24 * time.Hour })
}

// TestReleaseNotedTooEarly: a note that a clock made which was ahead counts for nothing: neither
// where that was set right, nor for the next end of an instance that was renewed.
func TestReleaseNotedTooEarly(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, func(c *kms.Config) { c.PurgeDelay = 24 * time.Hour })
	kit.Tenant(t, k, "tenant-7", 10)
	edge := k.Clock.Now().AddDate(0, 0, 25)
	for _, at := range []time.Time{edge.AddDate(1, 0, 0), edge} {
		k.Clock.Set(at)
		require.Equal(t, []string{"tenant-7"}, kit.Maintain(t, k).Instances.Noted)
	}
	k.Clock.Set(edge.Add(-1))
	renewed, err := k.RenewInstance(ctx, "tenant-7", edge.AddDate(0, 1, 0))
	require.NoError(t, err)
	k.Clock.Set(renewed.ReleasesAt)
	require.Equal(t, []string{"tenant-7"}, kit.Maintain(t, k).Instances.Noted)
	require.True(t, kms.IsSealed(kit.StoredValue(t, k, "instance/tenant-7")))
}

// TestOnRelease: the physical release waits for the hook, and so does a release by hand, but
// for one by force.
func TestOnRelease(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		ctx := t.Context()
		fails := errors.New("the bucket does not answer")
		var asked []kms.Instance
		k := kit.New(t, func(c *kms.Config) {
			c.OnRelease = func(_ context.Context, m *kms.Manager, in kms.Instance) error {
				require.NotNil(t, m)
				asked = append(asked, in)
				return fails
			}
		})
		kit.Tenant(t, k, "tenant-7", 10)
		kit.Tenant(t, k, "tenant-8", 0)
		for _, id := range []string{"tenant-8"} {
			err := kit.Err(k.ReleaseInstance(ctx, id, nil))
			require.ErrorIs(t, err, fails)
			require.ErrorIs(t, err, kms.ErrUnavailable)
			require.Equal(t, kms.InstanceActive, instanceState(t, k.Manager, id))
		}
		k.Clock.AdvanceDays(25)
		for range 2 {
			report, err := k.Maintain(ctx)
			require.ErrorIs(t, err, fails)
			require.Equal(t, []string{"tenant-7"}, report.Instances.Waiting)
			require.True(t, kms.IsSealed(kit.StoredValue(t, k, "instance/tenant-7")))
		}
		require.Len(t, asked, 3)
		require.Equal(t, kms.InstanceReleased, asked[2].State)
		fails = nil
		require.Equal(t, []string{"tenant-7"}, kit.Maintain(t, k).Instances.Released)
		require.False(t, kms.IsSealed(kit.StoredValue(t, k, "instance/tenant-7")))
		fails = errors.New("never asked")
		require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "tenant-8", kit.Force())))
	})
}

// TestProtectedByHook: what was protected while OnRelease ran is not released.
func TestProtectedByHook(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, func(c *kms.Config) {
		c.OnRelease = func(ctx context.Context, m *kms.Manager, in kms.Instance) error {
			return kit.Err(m.SetInstanceDeletionProtection(ctx, in.ID, kms.InstanceProtection{On: true, Reason: "wait"}))
		}
	})
	kit.Tenant(t, k, "tenant-7", 0)
	require.ErrorIs(t, kit.Err(k.ReleaseInstance(ctx, "tenant-7", nil)), kms.ErrProtected)
}

// TestReleaseKilled kills a release at its write, in each way that it can fail: it is done or
// it is not, and the next call or pass finishes.
func TestReleaseKilled(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		killed := errors.New("killed")
		for _, applied := range []bool{false, true} {
			for _, byHand := range []bool{false, true} {
				ctx := t.Context()
				k := kit.New(t)
				id := kit.Tenant(t, k, "tenant-7", 10)
				c, err := k.Encrypt(ctx, id, []byte("x"), nil)
				require.NoError(t, err)
				if !byHand {
					k.Clock.AdvanceDays(25)
				}
				k.Store.OnPut(func(string) (bool, error) { return applied, killed })
				if byHand {
					err = kit.Err(k.ReleaseInstance(ctx, "tenant-7", kit.Force()))
				} else {
					err = kit.Err(k.Maintain(ctx))
				}
				require.ErrorIs(t, err, killed)
				k.Store.OnPut(nil)
				m := k.Another(t)
				require.Equal(t, !applied, kms.IsSealed(kit.StoredValue(t, k, "instance/tenant-7")))
				if byHand && !applied {
					require.NoError(t, kit.Err(m.Decrypt(ctx, c, nil)), "nothing was done")
					require.NoError(t, kit.Err(m.ReleaseInstance(ctx, "tenant-7", kit.Force())))
				} else {
					require.NoError(t, kit.Err(m.Maintain(ctx)))
				}
				require.False(t, kms.IsSealed(kit.StoredValue(t, k, "instance/tenant-7")))
				require.ErrorIs(t, kit.Err(m.Decrypt(ctx, c, nil)), kms.ErrNotFound)
				require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrNotFound)
			}
		}
	})
}

// TestRenewedByHook: an instance that was renewed while OnRelease ran, by a node whose clock is
// behind, is not reported as released.
func TestRenewedByHook(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := kit.Tenant(t, k, "tenant-7", 10)
	edge := k.Clock.Now().AddDate(0, 0, 25)
	k.Clock.Set(edge.Add(-1))
	late := k.Another(t, func(c *kms.Config) {
		c.Now = func() time.Time { return edge }
		c.OnRelease = func(context.Context, *kms.Manager, kms.Instance) error {
			return kit.Err(k.RenewInstance(ctx, "tenant-7", edge.AddDate(1, 0, 0)))
		}
	})
	report, err := late.Maintain(ctx)
	require.NoError(t, err)
	require.Equal(t, kms.InstanceReport{}, report.Instances)
	require.NoError(t, kit.Err(late.Encrypt(ctx, id, nil, nil)))
}

// TestReleaseOfHardware: keys in hardware are destroyed before the instance key, also where
// somebody else writes a record just then.
func TestReleaseOfHardware(t *testing.T) {
	for put := 0; put <= 4; put++ {
		ctx := t.Context()
		k := kmstest.New(t, func(c *kms.Config) { c.HSM = c.Software })
		require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "tenant-7", Protection: kms.ProtectionHSM})))
		id := kit.KeyIn(t, k, "tenant-7")
		puts := 0
		k.Store.OnPut(func(string) (bool, error) {
			if puts++; puts == put {
				return false, keystore.ErrConflict
			}
			return true, nil
		})
		released, err := k.ReleaseInstance(ctx, "tenant-7", kit.Force())
		require.NoError(t, err, "put %d", put)
		require.Equal(t, kms.InstanceReleased, released.State)
		require.False(t, kms.IsSealed(kit.StoredValue(t, k, "instance/tenant-7")), "put %d", put)
		require.ErrorIs(t, kit.Err(k.DescribeKey(ctx, id)), kms.ErrNotFound)
	}
}

// TestReleaseWithoutHardware: a Manager that has no provider for the keys of an instance does not
// release it by hand, and says so before anything is written.
func TestReleaseWithoutHardware(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, func(c *kms.Config) { c.HSM = c.Software })
	require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "tenant-7", Protection: kms.ProtectionHSM})))
	kit.KeyIn(t, k, "tenant-7")
	m := k.Another(t, func(c *kms.Config) { c.HSM = nil })
	stored := kit.StoredItems(t, k)
	x, err := m.Explain(ctx, kms.OpReleaseInstance, "tenant-7")
	require.NoError(t, err)
	err = kit.Err(m.ReleaseInstance(ctx, "tenant-7", kit.Force()))
	require.Equal(t, []string{"ErrUnsupported"}, kit.Conditions(err))
	require.Equal(t, err.Error(), x.Reasons[0].Error())
	require.Equal(t, stored, kit.StoredItems(t, k))
}

// TestRenewAgainstRelease: at the edge of the grace two nodes whose clocks differ renew and
// release; one of them wins, never both.
func TestRenewAgainstRelease(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		for range kit.OnMemory(t, 50, 15) {
			ctx := t.Context()
			k := kit.New(t)
			id := kit.Tenant(t, k, "tenant-7", 10)
			edge := k.Clock.Now().AddDate(0, 0, 25)
			k.Clock.Set(edge.Add(-1))
			late := k.Another(t, func(c *kms.Config) { c.Now = func() time.Time { return edge } })
			renewed := make(chan error, 1)
			go func() { renewed <- kit.Err(k.RenewInstance(ctx, "tenant-7", edge.AddDate(1, 0, 0))) }()
			report, err := late.Maintain(ctx)
			require.NoError(t, err)
			err = <-renewed
			if len(report.Instances.Released) == 0 {
				require.NoError(t, err)
				require.NoError(t, kit.Err(late.Encrypt(ctx, id, nil, nil)))
			} else {
				require.ErrorIs(t, err, kms.ErrNotFound)
				require.ErrorIs(t, kit.Err(late.Encrypt(ctx, id, nil, nil)), kms.ErrNotFound)
			}
		}
	})
}
