package kms_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestReleasePlanAgrees: the verdict of PlanRelease, what Explain says, and what ReleaseInstance does
// are one, for every set of what stands in the way. The plan changes nothing.
func TestReleasePlanAgrees(t *testing.T) {
	ctx := t.Context()
	verdicts := map[kms.Verdict]int{}
	facts := []string{"protected", "in use", "instance protected", "no backup", "used", "expired", "no hardware"}
	for set := range 1 << len(facts) {
		is := map[string]bool{}
		for i, fact := range facts {
			is[fact] = set&(1<<i) != 0
		}
		k := kmstest.New(t, kit.InHardware)
		o := &kms.InstanceOptions{ID: "acme", ExpiresAt: k.Clock.Now().AddDate(0, 0, 30)}
		if is["no hardware"] {
			o.Protection = kms.ProtectionHSM
		}
		require.NoError(t, kit.Err(k.CreateInstance(ctx, o)))
		id, gone := kit.KeyIn(t, k, "acme"), kit.KeyIn(t, k, "acme")
		require.NoError(t, kms.Change(ctx, k.Manager, gone, k.Clock.Now()))
		if is["protected"] {
			require.NoError(t, kit.Err(k.SetDeletionProtection(ctx, id, true, "the audit")))
		}
		if is["in use"] {
			require.NoError(t, kit.Err(k.AddDependent(ctx, id, kms.Dependent{Name: "table invoices"})))
		}
		if is["instance protected"] {
			require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "acme", kms.InstanceProtection{On: true, Reason: "the lawsuit"})))
		}
		if is["expired"] {
			k.Clock.AdvanceDays(30 - 1)
		}
		if is["used"] {
			require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))
		}
		if is["expired"] {
			k.Clock.AdvanceDays(1)
		}
		if !is["no backup"] {
			kit.Backup(t, k.Manager, "acme", k.Root)
		}
		if is["no hardware"] {
			require.NoError(t, k.Close(ctx))
			k.Manager = k.Another(t, func(c *kms.Config) { c.HSM = nil })
		}
		stored := kit.StoredItems(t, k)
		plan, err := k.PlanRelease(ctx, "acme")
		require.NoError(t, err)
		require.Equal(t, stored, kit.StoredItems(t, k), "it wrote")
		x, err := k.Explain(ctx, kms.OpReleaseInstance, "acme")
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(x.Reasons), fmt.Sprint(plan.Blockers))
		err = kit.Err(k.ReleaseInstance(ctx, "acme", nil))
		agree(t, x, err)

		what := fmt.Sprint(is)
		verdicts[plan.Verdict]++
		require.Equal(t, err == nil, plan.Verdict == kms.VerdictReady || plan.Verdict == kms.VerdictDoubtful, what)
		require.Equal(t, is["no hardware"], plan.Verdict == kms.VerdictImpossible, what)
		require.Equal(t, 1, plan.Keys, "what is deleted does not count")
		for fact, list := range map[string][]string{"protected": plan.Protected, "in use": plan.InUse, "used": plan.Recent} {
			require.Equal(t, is[fact], len(list) == 1 && list[0] == id, "%s: %s", fact, what)
		}
		require.Equal(t, []bool{!is["protected"] && !is["in use"] && !is["used"], !is["instance protected"], !is["no backup"]},
			[]bool{plan.Steps[0].Done, plan.Steps[1].Done, plan.Steps[2].Done}, what)
		page := plan.String()
		require.True(t, strings.HasPrefix(page, "Instance acme: "+string(plan.Verdict)+"\n"))
		for _, blocker := range plan.Blockers {
			require.Contains(t, page, kms.Hint(blocker))
		}
	}
	require.Len(t, verdicts, 4)
}

// TestReleasePlanOfOthers: the default instance is not one to release, and of one that was there is
// no plan.
func TestReleasePlanOfOthers(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	kit.Tenant(t, k, "acme", 10)
	plan, err := k.PlanRelease(ctx, kms.DefaultInstance)
	require.NoError(t, err)
	require.Equal(t, kms.VerdictImpossible, plan.Verdict)
	plan, err = k.PlanRelease(ctx, "acme")
	require.NoError(t, err)
	require.Contains(t, plan.String(), "It will be released at 2026-01-26T00:00:00Z by itself, whatever protects it")
	k.Clock.AdvanceDays(25)
	for _, id := range []string{"acme", "nobody"} {
		require.ErrorIs(t, kit.Err(k.PlanRelease(ctx, id)), kms.ErrNotFound)
		x, err := k.Explain(ctx, kms.OpPlanRelease, id)
		require.NoError(t, err)
		agree(t, x, kit.Err(k.PlanRelease(ctx, id)))
	}
	require.ErrorIs(t, kit.Err(k.PlanRelease(ctx, "No Such")), kms.ErrInvalid)
}

// TestReleaseNamesKeys: the error of a release names the first keys and counts the others.
func TestReleaseNamesKeys(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	kit.Tenant(t, k, "acme", 0)
	var ids []string
	for range 101 {
		id := kit.KeyIn(t, k, "acme")
		require.NoError(t, kit.Err(k.SetDeletionProtection(ctx, id, true, "the audit")))
		ids = append(ids, id)
	}
	kit.Backup(t, k.Manager, "acme", k.Root)
	err := kit.Err(k.ReleaseInstance(ctx, "acme", nil))
	var p *kms.ProtectedError
	require.ErrorAs(t, err, &p)
	require.Equal(t, ids[:100], p.Keys)
	require.Equal(t, "acme", p.Instance)
	require.ErrorContains(t, err, "instance acme: deletion protection is on: 101 keys: "+strings.Join(ids[:3], ", ")+", …")
	require.Contains(t, kms.Hint(err), "ReleaseOptions.Force")
}

// TestOnReleaseIsAskedLast: the program is not asked to back up what is not released anyway.
func TestOnReleaseIsAskedLast(t *testing.T) {
	ctx := t.Context()
	asked := 0
	k := kmstest.New(t, func(c *kms.Config) {
		c.OnRelease = func(_ context.Context, m *kms.Manager, in kms.Instance) error {
			asked++
			kit.Backup(t, m, in.ID, kit.Root(t, 7))
			return nil
		}
	})
	id := kit.Tenant(t, k, "acme", 0)
	require.NoError(t, kit.Err(k.AddDependent(ctx, id, kms.Dependent{Name: "table invoices"})))
	require.ErrorIs(t, kit.Err(k.ReleaseInstance(ctx, "acme", nil)), kms.ErrInUse)
	require.Zero(t, asked)
	require.NoError(t, kit.Err(k.RemoveDependent(ctx, id, kms.Dependent{Name: "table invoices"})))
	in, err := k.ReleaseInstance(ctx, "acme", &kms.ReleaseOptions{Reason: reason})
	require.NoError(t, err)
	require.Equal(t, 1, asked)
	require.Equal(t, reason, in.ReleasedWhy, "a reason is kept without force, too")
}

// TestNoticesNameProtectedKeys: the end of an instance, which protection does not stop, is reported
// with the keys that are protected.
func TestNoticesNameProtectedKeys(t *testing.T) {
	ctx := t.Context()
	var told []kms.Event
	k := kmstest.New(t, func(c *kms.Config) {
		c.Observe = func(_ context.Context, e kms.Event) {
			if e.Notice != "" {
				told = append(told, e)
			}
		}
	})
	kit.Tenant(t, k, "acme", 10)
	id := kit.KeyIn(t, k, "acme")
	require.NoError(t, kit.Err(k.SetDeletionProtection(ctx, id, true, "the audit")))
	k.Clock.AdvanceDays(3)
	kit.Maintain(t, k)
	k.Clock.AdvanceDays(7)
	kit.Maintain(t, k)
	require.Len(t, told, 2)
	require.Equal(t, kms.NoticeExpired, told[1].Notice)
	for _, e := range told {
		require.Equal(t, []string{id}, e.Protected, e.Notice)
	}
}

// TestReleaseReceipt goes through the end of an instance, by hand and by its expiry, with each level
// and what is missing for the next; level 4 needs a rotation of the root after the instance key
// was destroyed, and is true: a thief reads nothing.
func TestReleaseReceipt(t *testing.T) {
	ctx := t.Context()
	for _, protection := range []kms.Protection{kms.ProtectionSoftware, kms.ProtectionHSM} {
		for _, byHand := range []bool{true, false} {
			k := kmstest.New(t, func(c *kms.Config) { c.HSM, c.PurgeDelay = &fakeToken{keys: map[string][]byte{}}, 24*time.Hour })
			require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme", Protection: protection, ExpiresAt: k.Clock.Now().AddDate(0, 0, 10)})))
			s := &thief{KMS: k, born: k.Clock.Now(), material: kit.Material()}
			s.id, _, _ = kit.ImportedKeyIn(t, k, "acme", s.material)
			c, err := k.Encrypt(ctx, s.id, []byte("x"), nil)
			require.NoError(t, err)
			s.ciphertexts, s.stores = [][]byte{c}, nil
			s.look(t)
			root := k.Root
			is := func(level kms.DeletionLevel, missing string) kms.DeletionReceipt {
				t.Helper()
				s.look(t)
				d, err := k.ReleaseReceipt(ctx, "acme")
				require.NoError(t, err)
				again, err := k.Another(t, func(c *kms.Config) { c.Root = root }).ReleaseReceipt(ctx, "acme")
				require.NoError(t, err)
				require.Equal(t, d, again)
				require.Equal(t, level, d.Level)
				require.Equal(t, []string{"", "acme"}, []string{d.KeyID, d.Instance})
				require.Contains(t, d.Missing, missing)
				require.Equal(t, level == kms.DeletionLevel4, d.Missing == "")
				require.Equal(t, d.Missing == "", d.Do == "")
				require.Equal(t, level < kms.DeletionLevel4, s.reads(t, root), "%s, %v", protection, byHand)
				return d
			}
			rotate := func(n byte) {
				k.Clock.Advance(time.Hour)
				root = kit.Root(t, n)
				require.NoError(t, k.RotateRoot(ctx, root))
			}
			is(kms.NotDeleted, "Active")
			rotate(2)
			s.look(t)
			if byHand {
				k.Clock.AdvanceDays(1)
				require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "acme", kit.Force())))
			} else {
				k.Clock.AdvanceDays(10)
				is(kms.DeletionLevel0, "renewed until 2026-01-26")
				k.Clock.AdvanceDays(15)
				is(kms.DeletionLevel1, "not destroyed")
				kit.Maintain(t, k)
				rotate(3) // too early
				is(kms.DeletionLevel1, "not destroyed")
				k.Clock.AdvanceDays(1)
				require.Equal(t, []string{"acme"}, kit.Maintain(t, k).Instances.Released)
			}
			is(kms.DeletionLevel3, "the present root opens")
			require.NoError(t, k.RotateRoot(ctx, root), "with the same root")
			is(kms.DeletionLevel3, "the present root opens")
			require.NoError(t, kit.Err(k.Shred(ctx, kms.DefaultInstance)))
			is(kms.DeletionLevel3, "the present root opens")
			rotate(4)
			d := is(kms.DeletionLevel4, "")
			require.Equal(t, k.Clock.Now(), d.Reached[4].Since)
			require.Contains(t, d.Reached[4].If, "every backup of the instance")
			require.Equal(t, protection == kms.ProtectionHSM, strings.Contains(d.Reached[4].If, "the hardware"))
		}
	}
}

// TestReleaseReceiptInARotation: an instance that is released while the root is being rotated reaches
// level 4 only if the next root has not sealed its key.
func TestReleaseReceiptInARotation(t *testing.T) {
	for carried, want := range map[bool]kms.DeletionLevel{true: kms.DeletionLevel3, false: kms.DeletionLevel4} {
		ctx := t.Context()
		k := kmstest.New(t)
		kit.Tenant(t, k, "acme", 0)
		next := kit.Root(t, 2)
		k.Clock.Advance(time.Hour)
		puts := map[string]int{}
		k.Store.OnPut(func(name string) (bool, error) {
			if puts[name]++; puts["instance/default"] == 2 || (!carried && name == "instance/acme") {
				return false, context.DeadlineExceeded
			}
			return true, nil
		})
		require.Error(t, k.RotateRoot(ctx, next))
		k.Store.OnPut(nil)
		require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "acme", kit.Force())))
		k.Clock.Advance(time.Hour)
		require.NoError(t, k.RotateRoot(ctx, next))
		d, err := k.ReleaseReceipt(ctx, "acme")
		require.NoError(t, err)
		require.Equal(t, want, d.Level)
		if carried {
			require.Contains(t, d.Missing, "the present root opens the instance key")
		}
	}
}

// TestReleaseOnlyIsRestored: the protection of an instance comes back with its keys as it was.
func TestReleaseOnlyIsRestored(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	kit.Tenant(t, k, "acme", 0)
	for _, mild := range []bool{false, true} {
		require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "acme", kms.InstanceProtection{On: true, ReleaseOnly: mild, Reason: "why"})))
		backup := kit.Backup(t, k.Manager, "acme", k.Root)
		in := kit.Restore(t, kit.NewService(t, k).Manager, backup, k.Root, nil).Instance
		require.Equal(t, []any{true, mild, "why"}, []any{in.Protected, in.ReleaseOnly, in.ProtectedWhy})
	}
}
