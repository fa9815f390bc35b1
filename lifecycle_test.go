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
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// A subject is a key in some state, with what was made while it could be.
type subject struct {
	*kmstest.KMS
	id         string
	ciphertext []byte // under the key
	foreign    []byte // under another key
	signature  []byte // of nothing, or its MAC, where the key makes such
	alias      string // names the key
	wrapped    []byte // the key's material, wrapped, where that is imported
	token      []byte // and the token that goes with it
	elsewhere  string // an alias of another key, which lives in the default instance
	instance   string // where the key lives
	expires    time.Time
	backup     []byte // of the default instance, for the root of the Manager
}

// verbs do each operation that has a row to a subject.
var verbs = map[kms.Op]func(context.Context, *subject) error{
	kms.OpDescribeKey: func(ctx context.Context, s *subject) error { return only(s.DescribeKey(ctx, s.id)) },
	kms.OpGenerateDataKey: func(ctx context.Context, s *subject) error {
		return only(s.GenerateDataKey(ctx, s.id, nil))
	},
	kms.OpGenerateDataKeyWithoutPlaintext: func(ctx context.Context, s *subject) error {
		return only(s.GenerateDataKeyWithoutPlaintext(ctx, s.id, 16, nil))
	},
	kms.OpEncrypt: func(ctx context.Context, s *subject) error { return only(s.Encrypt(ctx, s.id, nil, nil)) },
	kms.OpDecrypt: func(ctx context.Context, s *subject) error { return only(s.Decrypt(ctx, s.ciphertext, nil)) },
	kms.OpReEncryptFrom: func(ctx context.Context, s *subject) error {
		return only(s.ReEncrypt(ctx, s.ciphertext, nil, s.elsewhere, nil))
	},
	kms.OpReEncryptTo: func(ctx context.Context, s *subject) error {
		return only(s.ReEncrypt(ctx, s.foreign, nil, s.id, nil))
	},
	kms.OpSign: func(ctx context.Context, s *subject) error {
		return only(s.Sign(ctx, s.id, kms.SignECDSASHA256, nil))
	},
	kms.OpVerify: func(ctx context.Context, s *subject) error {
		return s.Verify(ctx, s.id, kms.SignECDSASHA256, nil, s.signature)
	},
	kms.OpGenerateMac: func(ctx context.Context, s *subject) error {
		return only(s.GenerateMac(ctx, s.id, kms.MacHMACSHA256, nil))
	},
	kms.OpVerifyMac: func(ctx context.Context, s *subject) error {
		return s.VerifyMac(ctx, s.id, kms.MacHMACSHA256, nil, s.signature)
	},
	kms.OpAsymmetricEncrypt: func(ctx context.Context, s *subject) error {
		return only(s.AsymmetricEncrypt(ctx, s.id, nil))
	},
	kms.OpAsymmetricDecrypt: func(ctx context.Context, s *subject) error {
		return only(s.AsymmetricDecrypt(ctx, s.id, s.ciphertext))
	},
	kms.OpGetPublicKey: func(ctx context.Context, s *subject) error { return only(s.GetPublicKey(ctx, s.id)) },
	kms.OpEnableKey:    func(ctx context.Context, s *subject) error { return only(s.EnableKey(ctx, s.id)) },
	kms.OpDisableKey:   func(ctx context.Context, s *subject) error { return only(s.DisableKey(ctx, s.id)) },
	kms.OpScheduleKeyDeletion: func(ctx context.Context, s *subject) error {
		return only(s.ScheduleKeyDeletion(ctx, s.id, 7))
	},
	kms.OpCancelKeyDeletion: func(ctx context.Context, s *subject) error { return only(s.CancelKeyDeletion(ctx, s.id)) },
	kms.OpSetDeletionProtection: func(ctx context.Context, s *subject) error {
		return only(s.SetDeletionProtection(ctx, s.id, true, "kept for the audit"))
	},
	kms.OpAddDependent: func(ctx context.Context, s *subject) error {
		return only(s.AddDependent(ctx, s.id, kms.Dependent{Name: "table invoices"}))
	},
	kms.OpRemoveDependent: func(ctx context.Context, s *subject) error {
		return only(s.RemoveDependent(ctx, s.id, kms.Dependent{Name: "table invoices"}))
	},
	kms.OpSetBrownout: func(ctx context.Context, s *subject) error {
		return only(s.SetBrownout(ctx, s.id, 0.5, s.Clock.Now().AddDate(0, 0, 1)))
	},
	kms.OpPlanDeletion:    func(ctx context.Context, s *subject) error { return only(s.PlanDeletion(ctx, s.id)) },
	kms.OpGetKeyUsage:     func(ctx context.Context, s *subject) error { return only(s.KeyUsage(ctx, s.id)) },
	kms.OpListKeyVersions: func(ctx context.Context, s *subject) error { return only(s.KeyVersions(ctx, s.id)) },
	kms.OpRotateKey:       func(ctx context.Context, s *subject) error { return only(s.RotateKey(ctx, s.id)) },
	kms.OpUpdateRotationPolicy: func(ctx context.Context, s *subject) error {
		return only(s.UpdateRotationPolicy(ctx, s.id, 30))
	},
	kms.OpGetParametersForImport: func(ctx context.Context, s *subject) error {
		return only(s.GetParametersForImport(ctx, s.id, nil))
	},
	kms.OpImportKeyMaterial: func(ctx context.Context, s *subject) error {
		return only(s.ImportKeyMaterial(ctx, s.id, s.wrapped, s.token, time.Time{}))
	},
	kms.OpDeleteKeyMaterial: func(ctx context.Context, s *subject) error { return only(s.DeleteKeyMaterial(ctx, s.id)) },
	kms.OpSetDescription:    func(ctx context.Context, s *subject) error { return only(s.SetDescription(ctx, s.id, "new")) },
	kms.OpSetTags: func(ctx context.Context, s *subject) error {
		return only(s.SetTags(ctx, s.id, map[string]string{"team": "billing"}))
	},
	kms.OpCreateAlias: func(ctx context.Context, s *subject) error { return s.CreateAlias(ctx, "alias/new", s.id) },
	kms.OpUpdateAlias: func(ctx context.Context, s *subject) error { return s.UpdateAlias(ctx, s.elsewhere, s.id) },
	kms.OpDeleteAlias: func(ctx context.Context, s *subject) error { return s.DeleteAlias(ctx, s.alias) },
}

func only[T any](_ T, err error) error { return err }

// newSubject makes a key of AES_256 and takes it to a state.
func newSubject(t *testing.T, origin kms.Origin, state kms.State) *subject {
	return newSubjectOf(t, kms.SpecAES256, kms.UsageEncryptDecrypt, origin, state)
}

// newSubjectOf does so with another key.
func newSubjectOf(t *testing.T, spec kms.Spec, usage kms.Usage, origin kms.Origin, state kms.State) *subject {
	return newSubjectFor(t, 100, spec, usage, origin, state)
}

// newSubjectFor does so in an instance that expires in that many days.
func newSubjectFor(t *testing.T, days int, spec kms.Spec, usage kms.Usage, origin kms.Origin, state kms.State) *subject {
	ctx := t.Context()
	s := &subject{KMS: newKMS(t), alias: "alias/subject", elsewhere: "alias/other", instance: "tenant-7"}
	other := s.MustCreateKey(t).ID
	s.expires = s.Clock.Now().AddDate(0, 0, days)
	require.NoError(t, only(s.CreateInstance(ctx, &kms.InstanceOptions{ID: s.instance, ExpiresAt: s.expires})))
	if origin == kms.OriginExternal {
		s.id, s.wrapped, s.token = importedKeyIn(t, s.KMS, s.instance, ownMaterial)
	} else {
		key, err := s.CreateKey(ctx, &kms.CreateKeyOptions{Spec: spec, Usage: usage, Instance: s.instance})
		require.NoError(t, err)
		s.id = key.ID
	}
	require.NoError(t, s.CreateAlias(ctx, s.alias, s.id))
	require.NoError(t, s.CreateAlias(ctx, s.elsewhere, other))
	var err error
	switch {
	case kms.Fits(kms.OpEncrypt, spec, usage):
		s.ciphertext, err = s.Encrypt(ctx, s.id, []byte("x"), nil)
	case kms.Fits(kms.OpAsymmetricEncrypt, spec, usage):
		s.ciphertext, err = s.AsymmetricEncrypt(ctx, s.id, []byte("x"))
	case spec == kms.SpecECP256:
		s.signature, err = s.Sign(ctx, s.id, kms.SignECDSASHA256, nil)
	case spec == kms.SpecHMAC256:
		s.signature, err = s.GenerateMac(ctx, s.id, kms.MacHMACSHA256, nil)
	}
	require.NoError(t, err)
	s.backup = backupOf(t, s.Manager, kms.DefaultInstance, s.Root)
	s.foreign, err = s.Encrypt(ctx, other, []byte("x"), nil)
	require.NoError(t, err)

	switch {
	case state == kms.PendingImport && origin == kms.OriginExternal:
		require.NoError(t, only(s.DeleteKeyMaterial(ctx, s.id)))
	case state == kms.PendingImport:
		require.NoError(t, kms.StripMaterial(ctx, s.Manager, s.id))
	}
	if state == kms.Disabled || state == kms.PendingDeletion || state == kms.Deleted {
		require.NoError(t, only(s.DisableKey(ctx, s.id)))
	}
	if state == kms.PendingDeletion || state == kms.Deleted {
		require.NoError(t, only(s.ScheduleKeyDeletion(ctx, s.id, 7)))
	}
	if state == kms.Deleted {
		s.Clock.AdvanceDays(7)
	}
	return s
}

// state is what the key is; a Deleted one cannot be described.
func (s *subject) state(t *testing.T) kms.State {
	key, err := s.DescribeKey(t.Context(), s.id)
	if err != nil {
		require.ErrorIs(t, err, kms.ErrNotFound)
		return kms.Deleted
	}
	return key.State
}

// TestLifecycleCells does every operation in every state and holds the table to it: a cell
// is blank if and only if the operation is refused, by one condition, with nothing changed.
func TestLifecycleCells(t *testing.T) {
	if everywhere(t, TestLifecycleCells) {
		return
	}
	for op, verb := range verbs {
		for _, before := range kms.States {
			t.Run(op.String()+"/"+before.String(), func(t *testing.T) {
				t.Parallel()
				spec, usage := kms.SpecOf(op)
				s := newSubjectOf(t, spec, usage, kms.OriginOf(op), before)
				require.Equal(t, before, s.state(t))
				stored := everything(t, s.KMS)

				err := verb(t.Context(), s)
				next, asItsFacts, allowed := kms.Next(op, before)
				switch {
				case !allowed:
					require.Error(t, err)
					require.Equal(t, conditionsOf(kms.Refusal(op, before)), conditionsOf(err))
					require.Len(t, conditionsOf(err), 1)
					require.Equal(t, stored, everything(t, s.KMS), "a refused call wrote")
					require.Equal(t, before, s.state(t))
				case asItsFacts:
					require.NoError(t, err)
					require.Equal(t, kms.Disabled, s.state(t))
				default:
					require.NoError(t, err)
					require.Equal(t, next, s.state(t))
				}
			})
		}
	}
}

// TestLifecycleCellsExpired does every operation in every state while the instance of the key
// is Expired: what the table allows then is done as ever, and all else is ErrUnavailable,
// with nothing changed. A key that is Deleted is not found, as ever.
func TestLifecycleCellsExpired(t *testing.T) {
	if everywhere(t, TestLifecycleCellsExpired) {
		return
	}
	for op, verb := range verbs {
		for _, before := range kms.States {
			t.Run(op.String()+"/"+before.String(), func(t *testing.T) {
				t.Parallel()
				spec, usage := kms.SpecOf(op)
				days := map[bool]int{false: 3, true: 10}[before == kms.Deleted]
				s := newSubjectFor(t, days, spec, usage, kms.OriginOf(op), before)
				s.Clock.Set(s.expires)
				stored := everything(t, s.KMS)

				err := verb(t.Context(), s)
				next, asItsFacts, allowed := kms.Next(op, before)
				_, _, whileExpired := kms.Next(op, kms.Unavailable)
				if before == kms.Deleted {
					require.Equal(t, []string{"ErrNotFound"}, conditionsOf(err))
					require.Equal(t, stored, everything(t, s.KMS))
					return
				}
				key, described := s.DescribeKey(t.Context(), s.id)
				require.NoError(t, described)
				require.Equal(t, kms.Unavailable, key.State)
				switch {
				case !whileExpired:
					require.Equal(t, []string{"ErrUnavailable"}, conditionsOf(err))
					var u *kms.UnavailableError
					require.ErrorAs(t, err, &u)
					require.Equal(t, s.instance, u.Instance)
					require.Equal(t, s.expires, u.ExpiredAt)
					require.Equal(t, s.expires.AddDate(0, 0, 15), u.ReleasesAt)
					require.Contains(t, kms.Hint(err), "Renew the instance")
					require.Contains(t, kms.Hint(err), "back it up")
				case !allowed:
					require.Equal(t, conditionsOf(kms.Refusal(op, before)), conditionsOf(err))
				default:
					require.NoError(t, err)
					if asItsFacts {
						next = kms.Disabled
					}
					require.Equal(t, next, key.Underlying)
				}
				if err != nil {
					require.Equal(t, stored, everything(t, s.KMS), "a refused call wrote")
					require.Equal(t, before, key.Underlying)
				}
			})
		}
	}
}

// everything is all that a store holds.
func everything(t *testing.T, k *kmstest.KMS) (all []keystore.Item) {
	for item, err := range k.Store.List(t.Context(), "", "") {
		require.NoError(t, err)
		all = append(all, item)
	}
	return all
}

// TestLifecycleOrigins: what is for the keys of one origin is refused for those of the
// other, in every state, with nothing changed.
func TestLifecycleOrigins(t *testing.T) {
	if everywhere(t, TestLifecycleOrigins) {
		return
	}
	other := map[kms.Origin]kms.Origin{kms.OriginKMS: kms.OriginExternal, kms.OriginExternal: kms.OriginKMS}
	for op, verb := range verbs {
		if !kms.HasOrigin(op) {
			continue
		}
		for _, state := range []kms.State{kms.PendingImport, kms.Enabled, kms.Disabled, kms.PendingDeletion} {
			t.Run(op.String()+"/"+state.String(), func(t *testing.T) {
				t.Parallel()
				s := newSubject(t, other[kms.OriginOf(op)], state)
				before, err := s.Store.Get(t.Context(), "key/"+s.id)
				require.NoError(t, err)
				s.token, s.wrapped = nil, nil
				require.Equal(t, []string{"ErrUnsupported"}, conditionsOf(verb(t.Context(), s)))
				after, err := s.Store.Get(t.Context(), "key/"+s.id)
				require.NoError(t, err)
				require.Equal(t, before, after)
			})
		}
	}
}

// TestLifecycleUsages: what is for the keys of one usage is refused for all others, in every
// state, with nothing changed; and so before any cryptography.
func TestLifecycleUsages(t *testing.T) {
	if everywhere(t, TestLifecycleUsages) {
		return
	}
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
				before, err := s.Store.Get(t.Context(), "key/"+s.id)
				require.NoError(t, err)
				if !kms.Fits(kms.OpDecrypt, key.spec, key.usage) {
					s.ciphertext = kms.Readdress(s.foreign, s.id)
				}
				refused := 0
				for op, verb := range verbs {
					if kms.HasOrigin(op) && kms.OriginOf(op) != kms.OriginKMS || kms.Fits(op, key.spec, key.usage) {
						continue
					}
					refused++
					err := verb(t.Context(), s)
					require.Equal(t, []string{"ErrUnsupported"}, conditionsOf(err), op)
					require.NotEmpty(t, kms.Hint(err))
				}
				require.Greater(t, refused, 5)
				after, err := s.Store.Get(t.Context(), "key/"+s.id)
				require.NoError(t, err)
				require.Equal(t, before, after)
			})
		}
	}
}

// newKey makes a key of a spec and usage; "" is the spec's default.
func newKey(t testing.TB, k *kmstest.KMS, spec kms.Spec, usage kms.Usage) (id string) {
	t.Helper()
	key, err := k.CreateKey(t.Context(), &kms.CreateKeyOptions{Spec: spec, Usage: usage})
	require.NoError(t, err)
	require.Equal(t, spec, key.Spec)
	return key.ID
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
