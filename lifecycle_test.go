package kms_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/stretchr/testify/require"
)

// verbs do each operation that has a row to a Subject.
var verbs = map[kms.Op]func(context.Context, *kit.Subject) error{
	kms.OpDescribeKey: func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.DescribeKey(ctx, s.ID)) },
	kms.OpGenerateDataKey: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.GenerateDataKey(ctx, s.ID, nil))
	},
	kms.OpGenerateDataKeyWithoutPlaintext: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.GenerateDataKeyWithoutPlaintext(ctx, s.ID, 16, nil))
	},
	kms.OpEncrypt: func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.Encrypt(ctx, s.ID, nil, nil)) },
	kms.OpDecrypt: func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.Decrypt(ctx, s.Ciphertext, nil)) },
	kms.OpReEncryptFrom: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.ReEncrypt(ctx, s.Ciphertext, nil, s.Elsewhere, nil))
	},
	kms.OpReEncryptTo: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.ReEncrypt(ctx, s.Foreign, nil, s.ID, nil))
	},
	kms.OpSign: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.Sign(ctx, s.ID, kms.SignECDSASHA256, nil))
	},
	kms.OpVerify: func(ctx context.Context, s *kit.Subject) error {
		return s.Verify(ctx, s.ID, kms.SignECDSASHA256, nil, s.Signature)
	},
	kms.OpGenerateMac: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.GenerateMac(ctx, s.ID, kms.MacHMACSHA256, nil))
	},
	kms.OpVerifyMac: func(ctx context.Context, s *kit.Subject) error {
		return s.VerifyMac(ctx, s.ID, kms.MacHMACSHA256, nil, s.Signature)
	},
	kms.OpAsymmetricEncrypt: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.AsymmetricEncrypt(ctx, s.ID, nil))
	},
	kms.OpAsymmetricDecrypt: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.AsymmetricDecrypt(ctx, s.ID, s.Ciphertext))
	},
	kms.OpGetPublicKey: func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.GetPublicKey(ctx, s.ID)) },
	kms.OpEnableKey:    func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.EnableKey(ctx, s.ID)) },
	kms.OpDisableKey:   func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.DisableKey(ctx, s.ID)) },
	kms.OpScheduleKeyDeletion: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.ScheduleKeyDeletion(ctx, s.ID, 7))
	},
	kms.OpCancelKeyDeletion: func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.CancelKeyDeletion(ctx, s.ID)) },
	kms.OpSetDeletionProtection: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.SetDeletionProtection(ctx, s.ID, true, "kept for the audit"))
	},
	kms.OpAddDependent: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.AddDependent(ctx, s.ID, kms.Dependent{Name: "table invoices"}))
	},
	kms.OpRemoveDependent: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.RemoveDependent(ctx, s.ID, kms.Dependent{Name: "table invoices"}))
	},
	kms.OpSetBrownout: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.SetBrownout(ctx, s.ID, 0.5, s.Clock.Now().AddDate(0, 0, 1)))
	},
	kms.OpPlanDeletion:    func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.PlanDeletion(ctx, s.ID)) },
	kms.OpGetKeyUsage:     func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.KeyUsage(ctx, s.ID)) },
	kms.OpListKeyVersions: func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.KeyVersions(ctx, s.ID)) },
	kms.OpRotateKey:       func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.RotateKey(ctx, s.ID)) },
	kms.OpUpdateRotationPolicy: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.UpdateRotationPolicy(ctx, s.ID, 30))
	},
	kms.OpRetireKeyVersions: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.RetireKeyVersions(ctx, s.ID, kms.RetireOptions{Before: 2, Days: 7, Force: true, Reason: "moved"}))
	},
	kms.OpCancelRetirement: func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.CancelRetirement(ctx, s.ID)) },
	kms.OpGetParametersForImport: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.GetParametersForImport(ctx, s.ID, nil))
	},
	kms.OpImportKeyMaterial: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.ImportKeyMaterial(ctx, s.ID, s.Wrapped, s.Token, time.Time{}))
	},
	kms.OpDeleteKeyMaterial: func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.DeleteKeyMaterial(ctx, s.ID, nil)) },
	kms.OpSetDescription:    func(ctx context.Context, s *kit.Subject) error { return kit.Err(s.SetDescription(ctx, s.ID, "new")) },
	kms.OpSetTags: func(ctx context.Context, s *kit.Subject) error {
		return kit.Err(s.SetTags(ctx, s.ID, map[string]string{"team": "billing"}))
	},
	kms.OpCreateAlias: func(ctx context.Context, s *kit.Subject) error { return s.CreateAlias(ctx, "alias/new", s.ID) },
	kms.OpUpdateAlias: func(ctx context.Context, s *kit.Subject) error { return s.UpdateAlias(ctx, s.Elsewhere, s.ID) },
	kms.OpDeleteAlias: func(ctx context.Context, s *kit.Subject) error { return s.DeleteAlias(ctx, s.Alias) },
}

// newSubjectOf is kit.NewSubjectOf, and can take a key that has no imported material to
// PendingImport, as no call can.
func newSubjectOf(t *testing.T, spec kms.Spec, usage kms.Usage, origin kms.Origin, state kms.State) *kit.Subject {
	return newSubjectFor(t, 100, spec, usage, origin, state)
}

// newSubjectFor does so in an instance that expires in that many days.
func newSubjectFor(t *testing.T, days int, spec kms.Spec, usage kms.Usage, origin kms.Origin, state kms.State) *kit.Subject {
	t.Helper()
	if state != kms.PendingImport || origin == kms.OriginExternal {
		return kit.NewSubjectFor(t, days, spec, usage, origin, state)
	}
	s := kit.NewSubjectFor(t, days, spec, usage, origin, kms.Enabled)
	require.NoError(t, kms.StripMaterial(t.Context(), s.Manager, s.ID))
	return s
}

// ofSubject is what the facts of a Subject give where the table says that they decide: one that
// is PendingDeletion was disabled first, and one that is PendingImport never was.
var ofSubject = map[kms.Op]kms.State{
	kms.OpCancelKeyDeletion: kms.Disabled, kms.OpImportKeyMaterial: kms.Enabled, kms.OpDisableKey: kms.Disabled,
}

// TestLifecycleCells does every operation in every state and holds the table to it: a cell
// is blank if and only if the operation is refused, by one condition, with nothing changed.
func TestLifecycleCells(t *testing.T) {
	kit.Everywhere(t, func(t *testing.T) {
		for op, verb := range verbs {
			for _, before := range kms.States {
				t.Run(op.String()+"/"+before.String(), func(t *testing.T) {
					t.Parallel()
					spec, usage := kms.SpecOf(op)
					s := newSubjectOf(t, spec, usage, kms.OriginOf(op), before)
					kms.Prepare(t.Context(), s.Manager, op, s.ID)
					require.Equal(t, before, s.State(t))
					stored := kit.StoredItems(t, s.KMS)

					err := verb(t.Context(), s)
					next, asItsFacts, allowed := kms.Next(op, before)
					switch {
					case !allowed:
						require.Error(t, err)
						require.Equal(t, kit.Conditions(kms.Refusal(op, before)), kit.Conditions(err))
						require.Len(t, kit.Conditions(err), 1)
						require.Equal(t, stored, kit.StoredItems(t, s.KMS), "a refused call wrote")
						require.Equal(t, before, s.State(t))
					case asItsFacts:
						require.NoError(t, err)
						require.Equal(t, ofSubject[op], s.State(t))
					default:
						require.NoError(t, err)
						require.Equal(t, next, s.State(t))
					}
				})
			}
		}
	})
}

// TestLifecycleCellsExpired does every operation in every state while the instance of the key
// is Expired: what the table allows then is done as ever, and all else is ErrInstanceExpired,
// with nothing changed. A key that is Deleted is not found, as ever.
func TestLifecycleCellsExpired(t *testing.T) {
	kit.Everywhere(t, func(t *testing.T) {
		for op, verb := range verbs {
			for _, before := range kms.States {
				t.Run(op.String()+"/"+before.String(), func(t *testing.T) {
					t.Parallel()
					spec, usage := kms.SpecOf(op)
					days := map[bool]int{false: 3, true: 10}[before == kms.Deleted]
					s := newSubjectFor(t, days, spec, usage, kms.OriginOf(op), before)
					kms.Prepare(t.Context(), s.Manager, op, s.ID)
					s.Clock.Set(s.Expires)
					stored := kit.StoredItems(t, s.KMS)

					err := verb(t.Context(), s)
					next, asItsFacts, allowed := kms.Next(op, before)
					_, _, whileExpired := kms.Next(op, kms.Unavailable)
					if before == kms.Deleted {
						require.Equal(t, []string{"ErrNotFound"}, kit.Conditions(err))
						require.Equal(t, stored, kit.StoredItems(t, s.KMS))
						return
					}
					key, described := s.DescribeKey(t.Context(), s.ID)
					require.NoError(t, described)
					require.Equal(t, kms.Unavailable, key.State)
					switch {
					case !whileExpired:
						require.Equal(t, []string{"ErrInstanceExpired"}, kit.Conditions(err))
						require.NotErrorIs(t, err, kms.ErrUnavailable)
						var u *kms.InstanceExpiredError
						require.ErrorAs(t, err, &u)
						require.Equal(t, s.Instance, u.Instance)
						require.Equal(t, s.Expires, u.ExpiredAt)
						require.Equal(t, s.Expires.AddDate(0, 0, 15), u.ReleasesAt)
						require.Contains(t, kms.Hint(err), "Renew the instance")
						require.Contains(t, kms.Hint(err), "back it up")
					case !allowed:
						require.Equal(t, kit.Conditions(kms.Refusal(op, before)), kit.Conditions(err))
					default:
						require.NoError(t, err)
						if asItsFacts {
							next = ofSubject[op]
						}
						require.Equal(t, next, key.Underlying)
					}
					if err != nil {
						require.Equal(t, stored, kit.StoredItems(t, s.KMS), "a refused call wrote")
						require.Equal(t, before, key.Underlying)
					}
				})
			}
		}
	})
}

// TestLifecycleOrigins: what is for the keys of one origin is refused for those of the
// other, in every state, with nothing changed.
func TestLifecycleOrigins(t *testing.T) {
	kit.Everywhere(t, func(t *testing.T) {
		other := map[kms.Origin]kms.Origin{kms.OriginKMS: kms.OriginExternal, kms.OriginExternal: kms.OriginKMS}
		for op, verb := range verbs {
			if !kms.HasOrigin(op) {
				continue
			}
			for _, state := range []kms.State{kms.PendingImport, kms.Enabled, kms.Disabled, kms.PendingDeletion} {
				t.Run(op.String()+"/"+state.String(), func(t *testing.T) {
					t.Parallel()
					s := newSubjectOf(t, kms.SpecAES256, kms.UsageEncryptDecrypt, other[kms.OriginOf(op)], state)
					before, err := s.Store.Get(t.Context(), "key/"+s.ID)
					require.NoError(t, err)
					s.Token, s.Wrapped = nil, nil
					require.Equal(t, []string{"ErrOrigin"}, kit.Conditions(verb(t.Context(), s)))
					after, err := s.Store.Get(t.Context(), "key/"+s.ID)
					require.NoError(t, err)
					require.Equal(t, before, after)
				})
			}
		}
	})
}

// TestLifecycleUsages: what is for the keys of one usage is refused for all others, in every
// state, with nothing changed; and so before any cryptography.
func TestLifecycleUsages(t *testing.T) {
	kit.Everywhere(t, func(t *testing.T) {
		for _, key := range []struct {
			spec  kms.Spec
			usage kms.Usage
		}{
			{kms.SpecAES256, kms.UsageEncryptDecrypt}, {kms.SpecECP256, kms.UsageSignVerify}, {kms.SpecRSA2048, kms.UsageSignVerify},
			{kms.SpecRSA2048, kms.UsageEncryptDecrypt}, {kms.SpecHMAC256, kms.UsageGenerateVerifyMac},
		} {
			for _, state := range []kms.State{kms.PendingImport, kms.Enabled, kms.Disabled, kms.PendingDeletion} {
				t.Run(fmt.Sprintf("%s/%s/%s", key.spec, key.usage, state), func(t *testing.T) {
					t.Parallel()
					s := newSubjectOf(t, key.spec, key.usage, kms.OriginKMS, state)
					before, err := s.Store.Get(t.Context(), "key/"+s.ID)
					require.NoError(t, err)
					if !kms.Fits(kms.OpDecrypt, key.spec, key.usage) {
						s.Ciphertext = kms.Readdress(s.Foreign, s.ID)
					}
					refused := 0
					for op, verb := range verbs {
						if kms.HasOrigin(op) && kms.OriginOf(op) != kms.OriginKMS || kms.Fits(op, key.spec, key.usage) {
							continue
						}
						refused++
						err := verb(t.Context(), s)
						require.Equal(t, []string{"ErrUsage"}, kit.Conditions(err), op)
						require.ErrorIs(t, err, kms.ErrUnsupported)
						require.NotEmpty(t, kms.Hint(err))
					}
					require.Greater(t, refused, 5)
					after, err := s.Store.Get(t.Context(), "key/"+s.ID)
					require.NoError(t, err)
					require.Equal(t, before, after)
				})
			}
		}
	})
}

// TestLifecycleComplete reads the constants from the source: each operation has a name, and
// a row and a verb, or is known to have no key.
func TestLifecycleComplete(t *testing.T) {
	names := constants(t, "op.go", "Op")
	require.Greater(t, len(names), 20)
	keyless := map[kms.Op]bool{}
	for _, op := range kms.KeylessOps {
		keyless[op] = true
	}
	byName := map[string]kms.Op{}
	for op := kms.Op(0); op < kms.NumOps; op++ {
		require.NotEmpty(t, op.String())
		byName["Op"+op.String()] = op
	}
	for _, name := range names {
		op, ok := byName[name]
		require.True(t, ok, "%s has another name", name)
		require.NotEqual(t, keyless[op], kms.HasRow(op), name)
		require.Equal(t, kms.HasRow(op), verbs[op] != nil, name)
	}
	require.Len(t, byName, int(kms.NumOps), "two operations have one name")
	states := constants(t, "state.go", "")
	for _, s := range append(kms.States, kms.Unavailable) {
		require.Contains(t, states, s.String())
	}
	require.Len(t, states, len(kms.States)+1)
}

// constants are the exported names of a file's constants that begin with prefix.
func constants(t *testing.T, file, prefix string) []string {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	require.NoError(t, err)
	var names []string
	ast.Inspect(f, func(n ast.Node) bool {
		if g, ok := n.(*ast.GenDecl); ok && g.Tok == token.CONST {
			for _, spec := range g.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if name.IsExported() && strings.HasPrefix(name.Name, prefix) {
						names = append(names, name.Name)
					}
				}
			}
		}
		return true
	})
	return names
}

// TestLifecyclePrecedence: of several facts the strongest gives the state, and a date counts
// from its very instant.
func TestLifecyclePrecedence(t *testing.T) {
	due := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	for _, material := range []bool{false, true} {
		for _, disabled := range []bool{false, true} {
			rest := kms.Enabled
			if disabled {
				rest = kms.Disabled
			}
			if !material {
				rest = kms.PendingImport
			}
			require.Equal(t, rest, kms.StateOf(material, disabled, time.Time{}, false, due))
			require.Equal(t, kms.PendingDeletion, kms.StateOf(material, disabled, due, false, due.Add(-1)))
			require.Equal(t, kms.Deleted, kms.StateOf(material, disabled, due, false, due))
			require.Equal(t, kms.Deleted, kms.StateOf(material, disabled, due, false, due.Add(1)))
			require.Equal(t, kms.Deleted, kms.StateOf(material, disabled, time.Time{}, true, due))
			require.Equal(t, kms.Deleted, kms.StateOf(material, disabled, due, true, due.Add(-1)))
		}
	}
}

// lifecycleGroups are the operations that do the same kind of thing to a key.
var lifecycleGroups = map[string][]kms.Op{
	"reads": {kms.OpDescribeKey, kms.OpListKeyVersions, kms.OpGetKeyUsage, kms.OpPlanDeletion},
	"works with the key": {
		kms.OpGenerateDataKey, kms.OpGenerateDataKeyWithoutPlaintext, kms.OpEncrypt, kms.OpDecrypt, kms.OpReEncryptFrom, kms.OpReEncryptTo,
		kms.OpSign, kms.OpVerify, kms.OpGenerateMac, kms.OpVerifyMac, kms.OpAsymmetricEncrypt, kms.OpAsymmetricDecrypt, kms.OpGetPublicKey,
		kms.OpSetBrownout, kms.OpRotateKey, kms.OpUpdateRotationPolicy,
	},
	"changes the state": {
		kms.OpEnableKey, kms.OpDisableKey, kms.OpScheduleKeyDeletion, kms.OpCancelKeyDeletion, kms.OpImportKeyMaterial, kms.OpDeleteKeyMaterial,
		kms.OpGetParametersForImport, kms.OpRetireKeyVersions, kms.OpCancelRetirement,
	},
	"annotates or names": {
		kms.OpSetDeletionProtection, kms.OpAddDependent, kms.OpRemoveDependent, kms.OpSetDescription, kms.OpSetTags,
		kms.OpCreateAlias, kms.OpUpdateAlias, kms.OpDeleteAlias,
	},
}

// TestLifecycleGroups: every row is in one group, and within a group a state refuses with one condition.
func TestLifecycleGroups(t *testing.T) {
	in := map[kms.Op]string{}
	for group, ops := range lifecycleGroups {
		for _, state := range kms.States {
			with := map[string]kms.Op{}
			for _, op := range ops {
				if err := kms.Refusal(op, state); err != nil {
					with[kit.Conditions(err)[0]] = op
				}
			}
			require.LessOrEqual(t, len(with), 1, "what %s refuses a key that is %v with several conditions: %v", group, state, with)
		}
		for _, op := range ops {
			require.Empty(t, in[op], "%v is in two groups", op)
			in[op] = group
		}
	}
	for op := kms.Op(0); op < kms.NumOps; op++ {
		require.Equal(t, kms.HasRow(op), in[op] != "", "%v", op)
	}
}
