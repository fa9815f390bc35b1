package kit

import (
	"errors"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
)

// A Subject is a key in some state, with what was made while it could be.
type Subject struct {
	*kmstest.KMS
	ID         string
	Ciphertext []byte // under the key
	Foreign    []byte // under another key
	Signature  []byte // of nothing, or its MAC, where the key makes such
	Alias      string // names the key
	Wrapped    []byte // the key's material, wrapped, where that is imported
	Token      []byte // and the token that goes with it
	Elsewhere  string // an alias of another key, which lives in the default instance
	Instance   string // where the key lives
	Expires    time.Time
	Backup     []byte // of the default instance, for the root of the Manager
}

// NewSubject makes a key of AES_256 and takes it to a state.
func NewSubject(t testing.TB, origin kms.Origin, state kms.State) *Subject {
	t.Helper()
	return NewSubjectOf(t, kms.SpecAES256, kms.UsageEncryptDecrypt, origin, state)
}

// NewSubjectOf is NewSubject with a key of another spec and usage.
func NewSubjectOf(t testing.TB, spec kms.Spec, usage kms.Usage, origin kms.Origin, state kms.State) *Subject {
	t.Helper()
	return NewSubjectFor(t, 100, spec, usage, origin, state)
}

// NewSubjectFor is NewSubjectOf in an instance that expires in that many days. Only a key of
// OriginExternal can be PendingImport.
func NewSubjectFor(t testing.TB, days int, spec kms.Spec, usage kms.Usage, origin kms.Origin, state kms.State) *Subject {
	t.Helper()
	ctx := t.Context()
	s := &Subject{KMS: New(t), Alias: "alias/subject", Elsewhere: "alias/other", Instance: "tenant-7"}
	other := s.MustCreateKey(t).ID
	s.Expires = s.Clock.Now().AddDate(0, 0, days)
	must(t, "CreateInstance", Err(s.CreateInstance(ctx, &kms.InstanceOptions{ID: s.Instance, ExpiresAt: s.Expires})))
	if origin == kms.OriginExternal {
		s.ID, s.Wrapped, s.Token = ImportedKeyIn(t, s.KMS, s.Instance, Material())
	} else {
		key, err := s.CreateKey(ctx, &kms.CreateKeyOptions{Spec: spec, Usage: usage, Instance: s.Instance})
		must(t, "CreateKey", err)
		s.ID = key.ID
	}
	must(t, "CreateAlias", s.CreateAlias(ctx, s.Alias, s.ID))
	must(t, "CreateAlias", s.CreateAlias(ctx, s.Elsewhere, other))
	s.use(t)
	s.Backup = Backup(t, s.Manager, kms.DefaultInstance, s.Root)
	var err error
	s.Foreign, err = s.Encrypt(ctx, other, []byte("x"), nil)
	must(t, "Encrypt", err)
	s.take(t, origin, state)
	return s
}

// use makes what the key can make.
func (s *Subject) use(t testing.TB) {
	t.Helper()
	ctx := t.Context()
	key, err := s.DescribeKey(ctx, s.ID)
	must(t, "DescribeKey", err)
	encrypts := key.Usage == kms.UsageEncryptDecrypt
	switch {
	case encrypts && key.Spec == kms.SpecAES256:
		s.Ciphertext, err = s.Encrypt(ctx, s.ID, []byte("x"), nil)
	case encrypts:
		s.Ciphertext, err = s.AsymmetricEncrypt(ctx, s.ID, []byte("x"))
	case key.Spec == kms.SpecECP256:
		s.Signature, err = s.Sign(ctx, s.ID, kms.SignECDSASHA256, nil)
	case key.Spec == kms.SpecHMAC256:
		s.Signature, err = s.GenerateMac(ctx, s.ID, kms.MacHMACSHA256, nil)
	}
	must(t, "using the key", err)
}

// take takes the key to its state.
func (s *Subject) take(t testing.TB, origin kms.Origin, state kms.State) {
	t.Helper()
	ctx := t.Context()
	if state == kms.PendingImport {
		if origin != kms.OriginExternal {
			t.Fatal("kit: only a key of OriginExternal can be PendingImport")
		}
		must(t, "DeleteKeyMaterial", Err(s.DeleteKeyMaterial(ctx, s.ID, nil)))
	}
	if state == kms.Disabled || state == kms.PendingDeletion || state == kms.Deleted {
		must(t, "DisableKey", Err(s.DisableKey(ctx, s.ID)))
	}
	if state == kms.PendingDeletion || state == kms.Deleted {
		must(t, "ScheduleKeyDeletion", Err(s.ScheduleKeyDeletion(ctx, s.ID, 7)))
	}
	if state == kms.Deleted {
		s.Clock.AdvanceDays(7)
	}
}

// State returns the state of the key; a Deleted one cannot be described.
func (s *Subject) State(t testing.TB) kms.State {
	t.Helper()
	return StateOf(t, s.Manager, s.ID)
}

// StateOf returns the state of a key; a Deleted one cannot be described.
func StateOf(t testing.TB, m *kms.Manager, id string) kms.State {
	t.Helper()
	key, err := m.DescribeKey(t.Context(), id)
	if errors.Is(err, kms.ErrNotFound) {
		return kms.Deleted
	}
	must(t, "DescribeKey", err)
	return key.State
}

// Over opens a Manager that begins with another store.
func (s *Subject) Over(t testing.TB, store keystore.Store) *kms.Manager {
	t.Helper()
	return s.Another(t, func(c *kms.Config) { c.Store = store })
}
