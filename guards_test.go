package kms_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// A guard is a fact of a key, or of its instance, that may keep it from being lost.
type guard struct {
	name string
	set  func(ctx context.Context, s *kit.Subject) error
	cond error
}

var guards = []guard{
	{"enabled", func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.EnableKey(ctx, s.ID)) }, kms.ErrState},
	{"protected", func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.SetDeletionProtection(ctx, s.ID, true, "the audit"))
	}, kms.ErrProtected},
	{"in use", func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.AddDependent(ctx, s.ID, kms.Dependent{Name: "table invoices"}))
	}, kms.ErrInUse},
	{"instance protected", func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.SetInstanceDeletionProtection(ctx, s.Instance, kms.InstanceProtection{On: true, Reason: "the lawsuit"}))
	}, kms.ErrProtected},
	{"instance protected from release", func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.SetInstanceDeletionProtection(ctx, s.Instance, kms.InstanceProtection{On: true, ReleaseOnly: true}))
	}, kms.ErrProtected},
}

// A way is a way by which a ciphertext becomes unreadable for good. It is refused while one of the
// guards that it asks is there, and by force while one of those is there that force respects. This
// is the whole list, but for RotateRoot and Shred, after which old copies of the store are noise.
type way struct {
	op       kms.Op // none: it is what a date does, or what was decided elsewhere
	asks     []string
	respects []string // by force; nil: there is no force
	made     bool     // of keys whose material the service makes
	call     func(ctx context.Context, s *kit.Subject, force bool) error
}

const reason = "the tenant left"

var ways = map[string]way{
	"ScheduleKeyDeletion": {kms.OpScheduleKeyDeletion, []string{"enabled", "protected", "in use", "instance protected"}, nil, false,
		func(ctx context.Context, s *kit.Subject, _ bool) error {
			return kit.Err(s.ScheduleKeyDeletion(ctx, s.ID, 7))
		}},
	"RetireKeyVersions": {kms.OpRetireKeyVersions, []string{"protected", "instance protected"}, []string{}, true,
		func(ctx context.Context, s *kit.Subject, force bool) error {
			s.Clock.AdvanceDays(8) // since the last use
			return kit.Err(s.RetireKeyVersions(ctx, s.ID, kms.RetireOptions{Before: 2, Days: 7, Force: force, Reason: reason}))
		}},
	"DeleteKeyMaterial": {kms.OpDeleteKeyMaterial, []string{"protected", "instance protected"}, []string{}, false,
		func(ctx context.Context, s *kit.Subject, force bool) error {
			return kit.Err(s.DeleteKeyMaterial(ctx, s.ID, &kms.DeleteMaterialOptions{Force: force, Reason: reason}))
		}},
	"ReleaseInstance": {kms.OpReleaseInstance, []string{"protected", "in use", "instance protected", "instance protected from release"},
		[]string{"instance protected", "instance protected from release"}, false,
		func(ctx context.Context, s *kit.Subject, force bool) error {
			return kit.Err(s.ReleaseInstance(ctx, s.Instance, &kms.ReleaseOptions{Force: force, Reason: reason}))
		}},
	// ImportKeyMaterial is no such way but for this: it may bring the end of material nearer.
	"an import that ends sooner": {asks: []string{"protected", "instance protected"}, call: func(ctx context.Context, s *kit.Subject, _ bool) error {
		at := s.Clock.Now().Add(time.Hour)
		err := kit.Err(s.ImportKeyMaterial(ctx, s.ID, s.Wrapped, s.Token, at))
		if err == nil {
			s.Clock.Set(at)
		}
		return err
	}},
	// A key that was deleted elsewhere, where its guards were asked, is deleted here too.
	"a restore of its tombstone": {asks: []string{}, call: func(ctx context.Context, s *kit.Subject, _ bool) error {
		elsewhere := new(keystore.Memory)
		if err := kit.CopyItems(ctx, elsewhere, s.Store); err != nil {
			return err
		}
		m, err := kms.Open(ctx, s.ConfigWith(func(c *kms.Config) { c.Store = elsewhere }))
		if err != nil {
			return err
		}
		for _, err := range []error{
			kit.Err(m.SetInstanceDeletionProtection(ctx, s.Instance, kms.InstanceProtection{})), kit.Err(m.SetDeletionProtection(ctx, s.ID, false, "")),
			kit.Err(m.RemoveDependent(ctx, s.ID, kms.Dependent{Name: "table invoices"})), kit.Err(m.DisableKey(ctx, s.ID)), kit.Err(m.ScheduleKeyDeletion(ctx, s.ID, 7)),
		} {
			if err != nil {
				return err
			}
		}
		s.Clock.AdvanceDays(7)
		if _, err := m.Maintain(ctx); err != nil {
			return err
		}
		var backup bytes.Buffer
		if _, err := m.BackupInstance(ctx, s.Instance, &backup, s.Root, nil); err != nil {
			return err
		}
		return kit.Err(s.Restore(ctx, bytes.NewReader(backup.Bytes()), s.Root, nil))
	}},
	"the end of an instance": {asks: []string{}, call: func(_ context.Context, s *kit.Subject, _ bool) error {
		s.Clock.Set(s.Expires.AddDate(0, 0, kms.GraceDays))
		return nil
	}},
}

// guardedSubject is a key, Disabled and backed up, with some of the guards.
func guardedSubject(t *testing.T, origin kms.Origin, set int) (s *kit.Subject, there []string) {
	t.Helper()
	s = rotatedSubject(t, origin, kms.Disabled)
	for i, g := range guards {
		if set&(1<<i) != 0 {
			require.NoError(t, g.set(t.Context(), s))
			there = append(there, g.name)
		}
	}
	kit.Backup(t, s.Manager, s.Instance, s.Root)
	return s, there
}

// rotatedSubject is a Subject that has two versions, if its material was not imported.
func rotatedSubject(t *testing.T, origin kms.Origin, state kms.State) *kit.Subject {
	t.Helper()
	if origin == kms.OriginExternal {
		return kit.NewSubject(t, origin, state)
	}
	s := kit.NewSubject(t, origin, kms.Enabled)
	require.NoError(t, kit.Err(s.RotateKey(t.Context(), s.ID)))
	if state == kms.Disabled {
		require.NoError(t, kit.Err(s.DisableKey(t.Context(), s.ID)))
	}
	return s
}

// opens reports whether a Subject's ciphertext is readable, if its key is enabled.
func opens(ctx context.Context, s *kit.Subject) bool {
	_, _ = s.EnableKey(ctx, s.ID)
	return kit.Err(s.Decrypt(ctx, s.Ciphertext, nil)) == nil
}

// TestWays takes every way to lose a key past every set of guards: it is refused by those that it
// asks, with nothing changed, and one error holds all of them; or it is done, because force was
// given or nothing stands in the way. Explain says the same.
func TestWays(t *testing.T) {
	ctx := t.Context()
	for name, w := range ways {
		for set := range 1 << len(guards) {
			if set>>3 == 3 { // of the two kinds of protection an instance has one
				continue
			}
			for _, force := range []bool{false, true} {
				if force && w.respects == nil {
					continue
				}
				s, there := guardedSubject(t, map[bool]kms.Origin{false: kms.OriginExternal, true: kms.OriginKMS}[w.made], set)
				asks := w.asks
				if force {
					asks = w.respects
				}
				var want []string
				for _, g := range guards {
					if slices.Contains(there, g.name) && slices.Contains(asks, g.name) {
						want = append(want, kit.Conditions(g.cond)...)
					}
				}
				what := fmt.Sprintf("%s, force %v: %v", name, force, there)
				stored := kit.StoredItems(t, s.KMS)
				if w.op != 0 && !force {
					x, err := s.Explain(ctx, w.op, map[bool]string{false: s.ID, true: s.Instance}[w.op == kms.OpReleaseInstance])
					require.NoError(t, err)
					err = w.call(ctx, s, false)
					agree(t, x, err)
					requireRefused(t, want, err, what)
				} else {
					requireRefused(t, want, w.call(ctx, s, force), what)
				}
				if len(want) > 0 {
					require.Equal(t, stored, kit.StoredItems(t, s.KMS), what)
				}
				require.Equal(t, len(want) > 0, opens(ctx, s), what)
			}
		}
	}
}

// requireRefused: an error has the conditions that are wanted, or one of them if it is of the
// instance alone.
func requireRefused(t *testing.T, want []string, err error, what string) {
	t.Helper()
	if len(want) == 0 {
		require.NoError(t, err, what)
		return
	}
	got := kit.Conditions(err)
	require.NotEmpty(t, got, "%s: %v", what, err)
	var p *kms.ProtectedError
	if errors.As(err, &p) && p.KeyID == "" && p.Keys == nil { // an instance says so before it looks at its keys
		require.Equal(t, []string{"ErrProtected"}, got)
		return
	}
	slices.Sort(got)
	slices.Sort(want)
	require.Equal(t, slices.Compact(want), got, what)
}

// TestWaysAreAll: what else a Manager does leaves every ciphertext readable, or DisableKey and the
// like take it back. And no call is forced that is not on the list.
func TestWaysAreAll(t *testing.T) {
	ctx := t.Context()
	found := map[string]bool{}
	for _, origin := range []kms.Origin{kms.OriginKMS, kms.OriginExternal} {
		for _, state := range []kms.State{kms.Enabled, kms.Disabled} {
			for name := range kit.EveryCall(ctx, kit.NewSubject(t, origin, state), nil) {
				s := rotatedSubject(t, origin, state)
				kit.Backup(t, s.Manager, s.Instance, s.Root)
				call := kit.EveryCall(ctx, s, s.Manager)[name]
				if call == nil {
					continue
				}
				_ = call()
				if !opens(ctx, s) {
					found[name] = true
				}
			}
		}
	}
	for name, w := range ways {
		require.Equal(t, w.op != 0, found[name], name)
		delete(found, name)
	}
	require.Empty(t, found, "not on the list of ways")
	for op := range kms.NumOps {
		listed := op != 0 && ways[op.String()].op == op && op != kms.OpReleaseInstance
		require.Equal(t, listed, kms.IsGuarded(op), op)
	}
}

// TestForceNeedsAReason: a call by force without a reason, or with one that is too long, is refused
// before anything is read; what is done by force is reported with it.
func TestForceNeedsAReason(t *testing.T) {
	ctx := t.Context()
	s := kit.NewSubject(t, kms.OriginExternal, kms.Enabled)
	var told []kms.Event
	m := s.Another(t, func(c *kms.Config) { c.Observe = func(_ context.Context, e kms.Event) { told = append(told, e) } })
	for _, why := range []string{"", strings.Repeat("x", kms.MaxDescription+1)} {
		calls := s.Store.Calls()
		require.ErrorIs(t, kit.Err(m.DeleteKeyMaterial(ctx, s.ID, &kms.DeleteMaterialOptions{Force: true, Reason: why})), kms.ErrInvalid)
		require.ErrorIs(t, kit.Err(m.ReleaseInstance(ctx, s.Instance, &kms.ReleaseOptions{Force: true, Reason: why})), kms.ErrInvalid)
		require.Equal(t, calls, s.Store.Calls())
	}
	require.NoError(t, kit.Err(s.SetDeletionProtection(ctx, s.ID, true, "the audit")))
	told = nil
	require.NoError(t, kit.Err(m.DeleteKeyMaterial(ctx, s.ID, &kms.DeleteMaterialOptions{Force: true, Reason: reason})))
	in, err := m.ReleaseInstance(ctx, s.Instance, &kms.ReleaseOptions{Force: true, Reason: reason})
	require.NoError(t, err)
	require.Equal(t, reason, in.ReleasedWhy)
	in, err = s.DescribeInstance(ctx, s.Instance)
	require.NoError(t, err)
	require.Equal(t, reason, in.ReleasedWhy)
	calls := slices.DeleteFunc(told, func(e kms.Event) bool { return e.Step != "" })
	require.Len(t, calls, 2)
	for _, e := range calls {
		require.Equal(t, reason, e.Reason, e.Op)
	}
}

// TestInstanceProtectionIsFresh: it counts at once for a Manager that knew the instance from
// before, the default instance too, and for the view of a service; deletions that were scheduled
// before run on and are counted.
func TestInstanceProtectionIsFresh(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		other := k.Another(t)
		require.NoError(t, kit.Err(k.Service("ecs").Key(ctx)))
		require.NoError(t, kit.Err(k.Service("ecs").DisableKey(ctx)))
		kit.Tenant(t, k, "tenant-7", 0)
		for _, instance := range []string{kms.DefaultInstance, "tenant-7"} {
			id, scheduled := kit.KeyIn(t, k, instance), kit.KeyIn(t, k, instance)
			for _, id := range []string{id, scheduled} {
				require.NoError(t, kit.Err(other.DisableKey(ctx, id)))
			}
			require.NoError(t, kit.Err(other.ScheduleKeyDeletion(ctx, scheduled, 7)))
			in, err := k.SetInstanceDeletionProtection(ctx, instance, kms.InstanceProtection{On: true, Reason: "the lawsuit"})
			require.NoError(t, err)
			require.Equal(t, 1, in.PendingDeletions)
			for _, m := range []*kms.Manager{k.Manager, other} {
				err := kit.Err(m.ScheduleKeyDeletion(ctx, id, 7))
				var p *kms.ProtectedError
				require.ErrorAs(t, err, &p)
				require.Equal(t, []string{id, instance, "the lawsuit"}, []string{p.KeyID, p.Instance, p.Why})
				require.Contains(t, kms.Hint(err), "SetInstanceDeletionProtection")
				plan, err := m.PlanDeletion(ctx, id)
				require.NoError(t, err)
				require.Equal(t, kms.VerdictBlocked, plan.Verdict)
			}
			if instance == kms.DefaultInstance {
				require.ErrorIs(t, kit.Err(k.Service("ecs").ScheduleKeyDeletion(ctx, 7)), kms.ErrProtected)
			}
			require.NoError(t, kit.Err(k.SetDeletionProtection(ctx, id, true, "the audit")))
			var b *kms.BlockedError
			require.ErrorAs(t, kit.Err(other.ScheduleKeyDeletion(ctx, id, 7)), &b)
			require.Len(t, b.Blockers, 2)
			require.NoError(t, kit.Err(k.SetDeletionProtection(ctx, id, false, "")))
			require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, instance, kms.InstanceProtection{})))
			require.NoError(t, kit.Err(other.ScheduleKeyDeletion(ctx, id, 7)))
		}
		for _, bad := range []kms.InstanceProtection{{ReleaseOnly: true}, {On: true, ReleaseOnly: true}, {On: true, Reason: strings.Repeat("x", kms.MaxDescription+1)}} {
			require.ErrorIs(t, kit.Err(k.SetInstanceDeletionProtection(ctx, kms.DefaultInstance, bad)), kms.ErrInvalid)
		}
	})
}

// mayChange says which facts of a key an operation may change. An operation that is not here
// changes none.
var mayChange = map[kms.Op][]string{
	kms.OpEnableKey: {"disabled"}, kms.OpDisableKey: {"disabled"},
	kms.OpScheduleKeyDeletion: {"deletion"}, kms.OpCancelKeyDeletion: {"deletion"},
	kms.OpSetDeletionProtection: {"protected"}, kms.OpAddDependent: {"dependents"}, kms.OpRemoveDependent: {"dependents"},
	kms.OpSetBrownout: {"brown-out"}, kms.OpRotateKey: {"versions"}, kms.OpUpdateRotationPolicy: {"rotation policy"},
	kms.OpImportKeyMaterial: {"versions", "expiry of material"}, kms.OpDeleteKeyMaterial: {"versions", "expiry of material"},
	kms.OpSetDescription: {"description"}, kms.OpSetTags: {"tags"},
	kms.OpRetireKeyVersions: {"retirement"}, kms.OpCancelRetirement: {"retirement"},
}

// TestWhoChangesWhat does every operation to keys of which every fact is set, in each state, and
// holds what it changed to mayChange. So no import takes back a DisableKey, and no disabling ends a
// brown-out. What is done to a whole instance changes nothing of a key.
func TestWhoChangesWhat(t *testing.T) {
	ctx := t.Context()
	changed := map[kms.Op]bool{}
	for op, verb := range verbs {
		for _, state := range []kms.State{kms.PendingImport, kms.Enabled, kms.Disabled, kms.PendingDeletion} {
			for _, guarded := range []bool{false, true} {
				for _, origin := range []kms.Origin{kms.OriginKMS, kms.OriginExternal} {
					if kms.HasOrigin(op) && kms.OriginOf(op) != origin || origin == kms.OriginExternal && !kms.Fits(op, kms.SpecAES256, "") ||
						origin == kms.OriginKMS && state == kms.PendingImport {
						continue
					}
					spec, usage := kms.SpecOf(op)
					if origin == kms.OriginExternal {
						spec, usage = kms.SpecAES256, kms.UsageEncryptDecrypt
					}
					s := factualSubject(t, spec, usage, origin, state, guarded)
					if op == kms.OpCancelRetirement {
						_ = verbs[kms.OpRetireKeyVersions](ctx, s)
					}
					before, err := kms.Facts(ctx, s.Manager, s.ID)
					require.NoError(t, err)
					failed := verb(ctx, s)
					after, err := kms.Facts(ctx, s.Manager, s.ID)
					require.NoError(t, err)
					for fact, was := range before {
						if reflect.DeepEqual(was, after[fact]) {
							continue
						}
						changed[op] = true
						require.NoError(t, failed)
						require.Contains(t, mayChange[op], fact, "%s of a key that is %s", op, state)
					}
				}
			}
		}
	}
	for op := range mayChange {
		require.True(t, changed[op], "%s changed nothing", op)
	}
	for name, call := range map[string]func(*kit.Subject) error{
		"Shred":      func(s *kit.Subject) error { return kit.Err(s.Shred(ctx, s.Instance)) },
		"RotateRoot": func(s *kit.Subject) error { return s.RotateRoot(ctx, kit.Root(t, 9)) },
		"Maintain":   func(s *kit.Subject) error { return kit.Err(s.Maintain(ctx)) },
		"Backup":     func(s *kit.Subject) error { kit.Backup(t, s.Manager, s.Instance, s.Root); return nil },
	} {
		s := factualSubject(t, kms.SpecAES256, kms.UsageEncryptDecrypt, kms.OriginKMS, kms.Disabled, true)
		before, err := kms.Facts(ctx, s.Manager, s.ID)
		require.NoError(t, err)
		require.NoError(t, call(s), name)
		after, err := kms.Facts(ctx, s.Manager, s.ID)
		require.NoError(t, err)
		require.Equal(t, before, after, name)
	}
}

// factualSubject is a key of which every fact is set that can be, in a state. One that has no
// material was disabled before it went.
func factualSubject(t *testing.T, spec kms.Spec, usage kms.Usage, origin kms.Origin, state kms.State, guarded bool) *kit.Subject {
	t.Helper()
	ctx := t.Context()
	s := kit.NewSubjectOf(t, spec, usage, origin, kms.Enabled)
	require.NoError(t, kit.Err(s.SetTags(ctx, s.ID, map[string]string{"a": "b"})))
	require.NoError(t, kit.Err(s.SetDescription(ctx, s.ID, "d")))
	require.NoError(t, kit.Err(s.SetBrownout(ctx, s.ID, 0.000001, s.Expires)))
	if origin == kms.OriginKMS && usage == kms.UsageEncryptDecrypt && spec == kms.SpecAES256 {
		require.NoError(t, kit.Err(s.UpdateRotationPolicy(ctx, s.ID, 90)))
		require.NoError(t, kit.Err(s.RotateKey(ctx, s.ID)))
	}
	if state != kms.Enabled {
		require.NoError(t, kit.Err(s.DisableKey(ctx, s.ID)))
	}
	if state == kms.PendingImport {
		require.NoError(t, kit.Err(s.DeleteKeyMaterial(ctx, s.ID, nil)))
	}
	if guarded {
		require.NoError(t, kit.Err(s.AddDependent(ctx, s.ID, kms.Dependent{Name: "table invoices"})))
		require.NoError(t, kit.Err(s.SetDeletionProtection(ctx, s.ID, true, "the audit")))
	}
	if state == kms.PendingDeletion {
		require.NoError(t, kms.Change(ctx, s.Manager, s.ID, s.Clock.Now().AddDate(0, 0, 30)))
	}
	return s
}

// A setting is a setter on a kind of target, with a later call that goes another way because of it.
type setting struct {
	setter, target string
	set            func(ctx context.Context, s *kit.Subject) error
	later          func(ctx context.Context, s *kit.Subject) string // what comes of it
}

func conditionOf(err error) string { return strings.Join(kit.Conditions(err), "+") }

func settings() (all []setting) {
	instance := func(s *kit.Subject, of string) string {
		return map[string]string{"the default instance": kms.DefaultInstance, "an instance": s.Instance}[of]
	}
	for _, of := range []string{"the default instance", "an instance"} {
		all = append(all, setting{"SetInstanceDeletionProtection", of, func(ctx context.Context, s *kit.Subject) error {
			return kit.Err(s.SetInstanceDeletionProtection(ctx, instance(s, of), kms.InstanceProtection{On: true}))
		}, func(ctx context.Context, s *kit.Subject) string {
			key := map[string]string{"the default instance": s.Elsewhere, "an instance": s.ID}[of]
			_, _ = s.DisableKey(ctx, key)
			return conditionOf(kit.Err(s.ScheduleKeyDeletion(ctx, key, 7)))
		}})
	}
	all = append(all, setting{"SetInstanceDeletionProtection", "an instance, ReleaseOnly", func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.SetInstanceDeletionProtection(ctx, s.Instance, kms.InstanceProtection{On: true, ReleaseOnly: true}))
	}, func(ctx context.Context, s *kit.Subject) string {
		return conditionOf(kit.Err(s.ReleaseInstance(ctx, s.Instance, kit.Force())))
	}})
	schedule := func(ctx context.Context, s *kit.Subject) string {
		_, _ = s.DisableKey(ctx, s.ID)
		return conditionOf(kit.Err(s.ScheduleKeyDeletion(ctx, s.ID, 7)))
	}
	describe := func(ctx context.Context, s *kit.Subject) string {
		key, err := s.DescribeKey(ctx, s.Alias)
		return fmt.Sprint(key.ID == s.ID, key.Description, key.Tags, err)
	}
	return append(all,
		setting{"SetDeletionProtection", "a key", func(ctx context.Context, s *kit.Subject) error {
			return kit.Err(s.SetDeletionProtection(ctx, s.ID, true, ""))
		}, schedule},
		setting{"AddDependent", "a key", func(ctx context.Context, s *kit.Subject) error {
			return kit.Err(s.AddDependent(ctx, s.ID, kms.Dependent{Name: "d"}))
		}, schedule},
		setting{"SetBrownout", "a key", func(ctx context.Context, s *kit.Subject) error {
			return kit.Err(s.SetBrownout(ctx, s.ID, 1, s.Expires))
		}, func(ctx context.Context, s *kit.Subject) string {
			return conditionOf(kit.Err(s.Decrypt(ctx, s.Ciphertext, nil)))
		}},
		setting{"UpdateRotationPolicy", "a key", func(ctx context.Context, s *kit.Subject) error {
			return kit.Err(s.UpdateRotationPolicy(ctx, s.ID, 7))
		}, func(ctx context.Context, s *kit.Subject) string {
			s.Clock.AdvanceDays(7)
			report, err := s.Maintain(ctx)
			return fmt.Sprint(report.Rotated, err)
		}},
		setting{"SetDescription", "a key", func(ctx context.Context, s *kit.Subject) error {
			return kit.Err(s.SetDescription(ctx, s.ID, "new"))
		}, describe},
		setting{"SetTags", "a key", func(ctx context.Context, s *kit.Subject) error {
			return kit.Err(s.SetTags(ctx, s.ID, map[string]string{"a": "b"}))
		}, describe},
		setting{"UpdateAlias", "an alias", func(ctx context.Context, s *kit.Subject) error {
			key, err := s.DescribeKey(ctx, s.Elsewhere)
			return errors.Join(err, s.UpdateAlias(ctx, s.Alias, key.ID))
		}, describe},
	)
}

// TestSettingsCount: whatever can be set makes some later call go another way, on every kind of
// target that accepts it.
func TestSettingsCount(t *testing.T) {
	ctx := t.Context()
	known := map[string]bool{}
	for _, one := range settings() {
		for _, origin := range []kms.Origin{kms.OriginKMS, kms.OriginExternal} {
			with, without := kit.NewSubject(t, origin, kms.Enabled), kit.NewSubject(t, origin, kms.Enabled)
			if err := one.set(ctx, with); err != nil {
				require.Equal(t, []string{"ErrOrigin"}, kit.Conditions(err), one.setter) // for keys of another origin
				continue
			}
			known[one.setter] = true
			require.NotEqual(t, strings.ReplaceAll(one.later(ctx, without), without.ID, "ID"), strings.ReplaceAll(one.later(ctx, with), with.ID, "ID"),
				"%s of %s changes nothing", one.setter, one.target)
		}
	}
	setter := regexp.MustCompile("^(Set|Update|Add)")
	of := reflect.TypeFor[*kms.Manager]()
	for i := range of.NumMethod() {
		if name := of.Method(i).Name; setter.MatchString(name) {
			require.True(t, known[name], "%s is not on the list", name)
		}
	}
}
