package kms_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy/transit"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// agree holds an explanation to what the call itself said.
func agree(t *testing.T, x kms.Explanation, err error) {
	t.Helper()
	require.Equal(t, err == nil, x.Allowed, "%v: %v", x.Reasons, err)
	require.Equal(t, x.Allowed, len(x.Reasons) == 0)
	if err == nil {
		return
	}
	said := kit.Conditions(err)
	slices.Sort(said)
	var blocked *kms.BlockedError
	if !errors.As(err, &blocked) {
		require.Len(t, said, 1)
		require.Equal(t, said, kit.Conditions(x.Reasons[0]), "the first reason is what the call says")
		if x.Op != kms.OpDeleteAlias { // which speaks of the alias
			require.Equal(t, err.Error(), x.Reasons[0].Error())
		}
	} else {
		var all []string
		for _, reason := range x.Reasons {
			all = append(all, kit.Conditions(reason)...)
		}
		slices.Sort(all)
		require.Equal(t, said, slices.Compact(all))
		require.Len(t, x.Reasons, len(blocked.Blockers))
		for i, one := range blocked.Blockers {
			require.Equal(t, one.Error(), x.Reasons[i].Error())
		}
	}
	for _, reason := range x.Reasons {
		require.Len(t, kit.Conditions(reason), 1)
		require.NotEmpty(t, kms.Hint(reason), "no remedy")
		require.NotEmpty(t, kms.Code(reason))
	}
}

// TestExplainAgrees asks Explain about every operation in every state, with the instance of
// the key Active and Expired, and then does it: the two agree. Explain itself wrote nothing.
func TestExplainAgrees(t *testing.T) {
	for op, verb := range verbs {
		for _, state := range kms.States {
			for _, expired := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%v", op, state, expired), func(t *testing.T) {
					t.Parallel()
					spec, usage := kms.SpecOf(op)
					days := map[bool]int{false: 3, true: 10}[state == kms.Deleted]
					if !expired {
						days = 100
					}
					s := newSubjectFor(t, days, spec, usage, kms.OriginOf(op), state)
					kms.Prepare(t.Context(), s.Manager, op, s.ID)
					if expired {
						s.Clock.Set(s.Expires)
					}
					stored := kit.StoredItems(t, s.KMS)
					x, err := s.Explain(t.Context(), op, s.ID)
					require.NoError(t, err)
					require.Equal(t, stored, kit.StoredItems(t, s.KMS), "Explain wrote")
					require.Equal(t, s.ID, x.KeyID)
					agree(t, x, verb(t.Context(), s))
				})
			}
		}
	}
}

// TestPlanAgrees: the verdict of PlanDeletion and what ScheduleKeyDeletion says are one.
func TestPlanAgrees(t *testing.T) {
	for _, state := range kms.States {
		for _, guard := range []string{"", "protected", "dependents", "alias", "all"} {
			for _, expired := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%v", state, guard, expired), func(t *testing.T) {
					t.Parallel()
					ctx := t.Context()
					s := newSubjectFor(t, map[bool]int{false: 100, true: 3}[expired], kms.SpecAES256, "", kms.OriginKMS, kms.Enabled)
					if guard == "protected" || guard == "all" {
						require.NoError(t, kit.Err(s.SetDeletionProtection(ctx, s.ID, true, "why")))
					}
					if guard == "dependents" || guard == "all" {
						require.NoError(t, kit.Err(s.AddDependent(ctx, s.ID, kms.Dependent{Name: "table invoices"})))
					}
					if guard == "" {
						require.NoError(t, s.DeleteAlias(ctx, s.Alias))
					}
					become(t, s, state)
					if expired {
						s.Clock.Set(s.Expires)
					}
					x, err := s.Explain(ctx, kms.OpScheduleKeyDeletion, s.ID)
					require.NoError(t, err)
					plan, failed := s.PlanDeletion(ctx, s.ID)
					err = kit.Err(s.ScheduleKeyDeletion(ctx, s.ID, 7))
					agree(t, x, err)
					if state == kms.Deleted {
						require.ErrorIs(t, failed, kms.ErrNotFound)
						return
					}
					require.NoError(t, failed)
					scheduled := plan.Verdict == kms.VerdictDoubtful || plan.Verdict == kms.VerdictReady
					require.Equal(t, err == nil, scheduled, "%s, but: %v", plan.Verdict, err)
					require.Equal(t, len(x.Reasons), len(plan.Blockers))
					require.Equal(t, state == kms.PendingDeletion, plan.Verdict == kms.VerdictScheduled)
				})
			}
		}
	}
}

// become takes an Enabled key to a state, whatever protects it.
func become(t *testing.T, s *kit.Subject, state kms.State) {
	ctx := t.Context()
	switch state {
	case kms.PendingImport:
		require.NoError(t, kms.StripMaterial(ctx, s.Manager, s.ID))
	case kms.Disabled:
		require.NoError(t, kit.Err(s.DisableKey(ctx, s.ID)))
	case kms.PendingDeletion:
		require.NoError(t, kms.Change(ctx, s.Manager, s.ID, s.Clock.Now().AddDate(0, 0, 30)))
	case kms.Deleted:
		require.NoError(t, kms.Change(ctx, s.Manager, s.ID, s.Clock.Now()))
	}
}

// TestExplainInstances: the same for operations on instances, in each of their states.
func TestExplainInstances(t *testing.T) {
	ctx := t.Context()
	calls := map[kms.Op]func(k *kmstest.KMS) error{
		kms.OpCreateKey: func(k *kmstest.KMS) error {
			return kit.Err(k.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "tenant-7"}))
		},
		kms.OpDescribeInstance: func(k *kmstest.KMS) error { return kit.Err(k.DescribeInstance(ctx, "tenant-7")) },
		kms.OpRenewInstance: func(k *kmstest.KMS) error {
			return kit.Err(k.RenewInstance(ctx, "tenant-7", k.Clock.Now().AddDate(1, 0, 0)))
		},
		kms.OpReleaseInstance: func(k *kmstest.KMS) error { return kit.Err(k.ReleaseInstance(ctx, "tenant-7", nil)) },
		kms.OpShred:           func(k *kmstest.KMS) error { return kit.Err(k.Shred(ctx, "tenant-7")) },
		kms.OpSetInstanceDeletionProtection: func(k *kmstest.KMS) error {
			return kit.Err(k.SetInstanceDeletionProtection(ctx, "tenant-7", kms.InstanceProtection{On: true}))
		},
	}
	for op, call := range calls {
		for days, state := range map[int]kms.InstanceState{0: kms.InstanceActive, 10: kms.InstanceExpired, 25: kms.InstanceReleased} {
			for _, protected := range []bool{false, true} {
				k := kmstest.New(t)
				kit.Tenant(t, k, "tenant-7", 10)
				require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "tenant-7", kms.InstanceProtection{On: protected})))
				k.Clock.AdvanceDays(days)
				require.Equal(t, state, instanceState(t, k.Manager, "tenant-7"))
				x, err := k.Explain(ctx, op, "tenant-7")
				require.NoError(t, err)
				require.Equal(t, "tenant-7", x.Instance)
				agree(t, x, call(k))
			}
		}
	}
	k := kmstest.New(t)
	for op := range calls {
		x, err := k.Explain(ctx, op, "nobody")
		require.NoError(t, err)
		require.Equal(t, []string{"ErrNotFound"}, kit.Conditions(x.Reasons[0]), op)
	}
	for id, ask := range map[string]string{"tenant-9": "tenant-9", "default": "default", "": ""} {
		x, err := k.Explain(ctx, kms.OpCreateInstance, ask)
		require.NoError(t, err)
		agree(t, x, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: id})))
	}
	x, err := k.Explain(ctx, kms.OpReleaseInstance, kms.DefaultInstance)
	require.NoError(t, err)
	agree(t, x, kit.Err(k.ReleaseInstance(ctx, kms.DefaultInstance, nil)))
	x, err = k.Explain(ctx, kms.OpCreateKey, "")
	require.NoError(t, err)
	require.True(t, x.Allowed)
	require.Equal(t, kms.DefaultInstance, x.Instance)
}

// TestExplainMore: the reasons that are not of the state, and those that there are beside it.
func TestExplainMore(t *testing.T) {
	ctx := t.Context()
	why := errors.New("not you")
	allowed := map[kms.Op]bool{kms.OpExplain: true}
	k := kmstest.New(t, func(c *kms.Config) { c.MaxKeyVersions = 1 })
	guarded := k.Another(t, func(c *kms.Config) {
		c.Authorize = func(_ context.Context, r kms.Request) error {
			if allowed[r.Op] {
				return nil
			}
			return why
		}
	})
	id := k.MustCreateKey(t).ID
	require.NoError(t, k.CreateAlias(ctx, "alias/a", id))
	reasons := func(m *kms.Manager, op kms.Op, ref string) (names []string) {
		x, err := m.Explain(ctx, op, ref)
		require.NoError(t, err)
		require.Equal(t, len(x.Reasons) == 0, x.Allowed)
		for _, err := range x.Reasons {
			names = append(names, kit.Conditions(err)...)
		}
		return names
	}
	require.Equal(t, []string{"ErrLimit"}, reasons(k.Manager, kms.OpRotateKey, id))
	require.ErrorIs(t, kit.Err(k.RotateKey(ctx, id)), kms.ErrLimit)
	require.Equal(t, []string{"ErrDenied"}, reasons(guarded, kms.OpEncrypt, "alias/a"))
	require.Equal(t, []string{"ErrDenied", "ErrUsage"}, reasons(guarded, kms.OpSign, id))
	require.Equal(t, []string{"ErrDenied"}, reasons(guarded, kms.OpListKeys, ""))
	require.Empty(t, reasons(k.Manager, kms.OpListKeys, ""))
	require.Equal(t, []string{"ErrNotFound"}, reasons(k.Manager, kms.OpEncrypt, "alias/nobody"))
	require.Equal(t, []string{"ErrNotFound"}, reasons(k.Manager, kms.OpEncrypt, "01890000-0000-7000-8000-000000000000"))
	require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
	require.Equal(t, []string{"ErrUsage", "ErrDisabled"}, reasons(k.Manager, kms.OpSign, id))
	kit.EditItem(t, k, "key/"+id, func(b []byte) []byte { return b[:len(b)-1] })
	require.Equal(t, []string{"ErrTampered"}, reasons(k.Manager, kms.OpEncrypt, id))

	require.ErrorIs(t, kit.Err(guarded.Explain(ctx, kms.NumOps, id)), kms.ErrInvalid)
	require.ErrorIs(t, kit.Err(k.Explain(ctx, 0, id)), kms.ErrInvalid)
	require.ErrorIs(t, kit.Err(k.Explain(ctx, kms.OpListKeys, id)), kms.ErrInvalid)
	require.ErrorIs(t, kit.Err(k.Explain(ctx, kms.OpEncrypt, "no key")), kms.ErrInvalid)
	require.ErrorIs(t, kit.Err(k.Explain(ctx, kms.OpReleaseInstance, "NO INSTANCE")), kms.ErrInvalid)
	allowed[kms.OpExplain] = false
	require.ErrorIs(t, kit.Err(guarded.Explain(ctx, kms.OpEncrypt, id)), kms.ErrDenied)
	k.Store.OnGet(func(string) error { return why })
	require.ErrorIs(t, kit.Err(k.Explain(ctx, kms.OpEncrypt, id)), kms.ErrUnavailable)
}

// TestExplainDefaultKey: who may make the default key may encrypt under it before it is there.
func TestExplainDefaultKey(t *testing.T) {
	ctx := t.Context()
	denied := map[kms.Op]bool{}
	k := kmstest.New(t, func(c *kms.Config) {
		c.Authorize = func(_ context.Context, r kms.Request) error {
			if denied[r.Op] {
				return errors.New("no")
			}
			return nil
		}
	})
	asks := func(op kms.Op, call func() error) {
		t.Helper()
		x, err := k.Explain(ctx, op, kms.DefaultKey)
		require.NoError(t, err)
		agree(t, x, call())
	}
	encrypt := func() error { return kit.Err(k.Encrypt(ctx, kms.DefaultKey, nil, nil)) }
	asks(kms.OpDescribeKey, func() error { return kit.Err(k.DescribeKey(ctx, kms.DefaultKey)) })
	denied[kms.OpDescribeKey], denied[kms.OpCreateKey] = true, true
	asks(kms.OpDescribeKey, func() error { return kit.Err(k.DescribeKey(ctx, kms.DefaultKey)) })
	asks(kms.OpEncrypt, encrypt)
	denied[kms.OpCreateKey] = false
	asks(kms.OpEncrypt, encrypt)
	require.NoError(t, kit.Err(k.DisableKey(ctx, kms.DefaultKey)))
	asks(kms.OpEncrypt, encrypt)
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, kms.DefaultKey, 7)))
	k.Clock.AdvanceDays(7)
	asks(kms.OpDisableKey, func() error { return kit.Err(k.DisableKey(ctx, kms.DefaultKey)) })
	asks(kms.OpEncrypt, encrypt)
}

// TestExplainWithoutProvider: a Manager that lacks the protection level of a key refuses what
// needs the provider, and nothing else.
func TestExplainWithoutProvider(t *testing.T) {
	ctx := t.Context()
	source, err := transit.New(transitExport("old", 1))
	require.NoError(t, err)
	for _, origin := range []kms.Origin{kms.OriginKMS, kms.OriginExternal} {
		s := kit.NewSubject(t, origin, kms.Enabled)
		require.NoError(t, kit.Err(s.CreateInstance(ctx, &kms.InstanceOptions{ID: "soft"})))
		s.Manager = s.Another(t, kit.WithSources(source), func(c *kms.Config) { c.HSM, c.Software, c.MaxKeyVersions = c.Software, nil, 1 })
		for op, verb := range verbs {
			if kms.OriginOf(op) != origin && kms.HasOrigin(op) || !kms.Fits(op, kms.SpecAES256, "") {
				continue
			}
			switch op { // the others are of an Enabled key, and of one key
			case kms.OpDeleteKeyMaterial, kms.OpDisableKey, kms.OpScheduleKeyDeletion, kms.OpSetBrownout, kms.OpReEncryptTo,
				kms.OpRetireKeyVersions: // it has one version
				continue
			}
			x, err := s.Explain(ctx, op, s.ID)
			require.NoError(t, err)
			agree(t, x, verb(ctx, s))
		}
		x, err := s.Explain(ctx, kms.OpCreateKey, "soft")
		require.NoError(t, err)
		agree(t, x, kit.Err(s.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "soft"})))
		for key := range s.Keys(ctx, &kms.ListOptions{Owners: []kms.Owner{kms.OwnerLegacy}}) {
			x, err = s.Explain(ctx, kms.OpDecrypt, key.ID)
			require.NoError(t, err)
			agree(t, x, kit.Err(s.Decrypt(ctx, transitCiphertext(t, "old", "1"), nil)))
		}
		if origin == kms.OriginExternal {
			require.NoError(t, kit.Err(s.DeleteKeyMaterial(ctx, s.ID, &kms.DeleteMaterialOptions{Force: true, Reason: "withdrawn"})))
			x, err := s.Explain(ctx, kms.OpImportKeyMaterial, s.ID)
			require.NoError(t, err)
			agree(t, x, verbs[kms.OpImportKeyMaterial](ctx, s))
		}
	}
}

// TestExplainServiceKeys: every change of a read-only key is explained as it is refused.
func TestExplainServiceKeys(t *testing.T) {
	s := serviceSubject(t)
	for op, verb := range verbs {
		if op == kms.OpDeleteAlias || !kms.Fits(op, kms.SpecAES256, "") {
			continue
		}
		x, err := s.Explain(t.Context(), op, s.ID)
		require.NoError(t, err)
		agree(t, x, verb(t.Context(), s))
		require.Equal(t, kms.IsChange(op), !x.Allowed, op)
	}
	plan, err := s.PlanDeletion(t.Context(), s.ID)
	require.NoError(t, err)
	require.Equal(t, kms.VerdictImpossible, plan.Verdict)
}

// TestExplainReleased: of an instance that was released, and of its keys, Explain says what the calls
// say, and so it does of a receipt.
func TestExplainReleased(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, kit.InHardware)
	require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme", Protection: kms.ProtectionHSM})))
	id := kit.KeyIn(t, k, "acme")
	release := kit.Force()
	require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "acme", release)))
	for op, err := range map[kms.Op]error{
		kms.OpRenewInstance:                 kit.Err(k.RenewInstance(ctx, "acme", time.Time{})),
		kms.OpSetInstanceDeletionProtection: kit.Err(k.SetInstanceDeletionProtection(ctx, "acme", kms.InstanceProtection{On: true})),
		kms.OpReleaseInstance:               kit.Err(k.ReleaseInstance(ctx, "acme", release)),
		kms.OpBackupInstance:                kit.Err(k.BackupInstance(ctx, "acme", io.Discard, k.Root, nil)),
		kms.OpShred:                         kit.Err(k.Shred(ctx, "acme")),
		kms.OpCreateKey:                     kit.Err(k.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "acme"})),
	} {
		require.Error(t, err, op)
		x, explained := k.Explain(ctx, op, "acme")
		require.NoError(t, explained, op)
		agree(t, x, err)
	}
	x, err := k.Explain(ctx, kms.OpDeletionReceipt, id)
	require.NoError(t, err)
	agree(t, x, kit.Err(k.DeletionReceipt(ctx, id)))
}

// TestProviderErrors: each error of package provider has one condition, whatever asks the provider to
// open the key, and Explain says what the call says.
func TestProviderErrors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for answer, want := range map[error]string{
		provider.ErrNoKey: "ErrMaterialGone", provider.ErrElsewhere: "ErrUnavailable", provider.ErrUnavailable: "ErrUnavailable",
		provider.ErrUnsupported: "ErrUnsupported", provider.ErrCiphertext: "ErrCiphertext", provider.ErrSignature: "ErrSignature",
		errors.New("something else"): "ErrUnavailable",
	} {
		token := &module{Provider: software.New(), lost: map[string]bool{}}
		k := kmstest.New(t, func(c *kms.Config) { c.Software = token })
		for op, verb := range verbs {
			if !kms.IsUse(op) || op == kms.OpReEncryptTo || op == kms.OpReEncryptFrom {
				continue
			}
			spec, usage := kms.SpecOf(op)
			token.down = nil
			s := &kit.Subject{KMS: k, ID: kit.Key(t, k, spec, usage)}
			if spec == kms.SpecAES256 {
				var err error
				s.Ciphertext, err = k.Encrypt(ctx, s.ID, []byte("x"), nil)
				require.NoError(t, err)
			}
			token.down = answer
			s.KMS = &kmstest.KMS{Manager: k.Another(t), Store: k.Store, Clock: k.Clock}
			err := verb(ctx, s)
			require.Equal(t, []string{want}, kit.Conditions(err), "%v: %v", op, err)
			x, failed := s.Explain(ctx, op, s.ID)
			require.NoError(t, failed)
			require.Equal(t, []string{want}, kit.Conditions(x.Reasons[0]), op)
			require.Equal(t, kms.Hint(err), kms.Hint(x.Reasons[0]), op)
		}
	}
}
