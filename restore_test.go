package kms_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// A household is an instance with a key of every kind, and what was made with them.
type household struct {
	sealed, turned, imported, signer, gone string // key IDs
	texts                                  map[string][]byte
	message, signature                     []byte
	wrapped, token                         []byte // material of imported
}

func newHousehold(t *testing.T, k *kmstest.KMS, instance string) *household {
	ctx := t.Context()
	h := &household{texts: map[string][]byte{}, message: []byte("the message")}
	encrypt := func(name, id string) {
		var err error
		h.texts[name], err = k.Encrypt(ctx, id, []byte(name), nil)
		require.NoError(t, err)
	}
	h.sealed, h.turned, h.gone = kit.KeyIn(t, k, instance), kit.KeyIn(t, k, instance), kit.KeyIn(t, k, instance)
	encrypt("sealed", h.sealed)
	for _, name := range []string{"version 1", "version 2", "version 3"} {
		encrypt(name, h.turned)
		require.NoError(t, kit.Err(k.RotateKey(ctx, h.turned)))
	}
	h.imported, h.wrapped, h.token = kit.ImportedKeyIn(t, k, instance, kit.Material())
	encrypt("imported", h.imported)
	key, err := k.CreateKey(ctx, &kms.CreateKeyOptions{Instance: instance, Spec: kms.SpecEd25519, Tags: map[string]string{"a": "b"}})
	require.NoError(t, err)
	h.signer = key.ID
	h.signature, err = k.Sign(ctx, h.signer, kms.SignEd25519, h.message)
	require.NoError(t, err)
	require.NoError(t, k.CreateAlias(ctx, "alias/"+instance+"/sealed", h.sealed))
	require.NoError(t, k.CreateAlias(ctx, "alias/"+instance+"/gone", h.gone))
	require.NoError(t, kit.Err(k.AddDependent(ctx, h.sealed, kms.Dependent{Name: "table invoices"})))
	require.NoError(t, kit.Err(k.SetDeletionProtection(ctx, h.turned, true, "the audit")))
	require.NoError(t, kit.Err(k.UpdateRotationPolicy(ctx, h.turned, 30)))
	require.NoError(t, kit.Err(k.DisableKey(ctx, h.gone)))
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, h.gone, 7)))
	k.Clock.AdvanceDays(7)
	require.NoError(t, kit.Err(k.Maintain(ctx)))
	return h
}

// works holds a Manager to all that the household can do.
func (h *household) works(t *testing.T, m *kms.Manager, instance string) {
	t.Helper()
	ctx := t.Context()
	for name, c := range h.texts {
		plain, err := m.Decrypt(ctx, c, nil)
		require.NoError(t, err, name)
		require.Equal(t, name, string(plain))
	}
	require.NoError(t, m.Verify(ctx, h.signer, kms.SignEd25519, h.message, h.signature))
	require.NoError(t, kit.Err(m.Encrypt(ctx, "alias/"+instance+"/sealed", nil, nil)))
	require.ErrorIs(t, kit.Err(m.DescribeKey(ctx, h.gone)), kms.ErrNotFound)
	require.ErrorIs(t, kit.Err(m.DescribeKey(ctx, "alias/"+instance+"/gone")), kms.ErrNotFound)
}

// described are the keys of an instance as callers see them.
func described(t *testing.T, m *kms.Manager, instance string) map[string]kms.Key {
	all := map[string]kms.Key{}
	for key, err := range m.Keys(t.Context(), &kms.ListOptions{Instances: []string{instance}}) {
		require.NoError(t, err)
		all[key.ID] = key
	}
	return all
}

// TestRestoreRoundTrips: a backup brought back where everything is, into the instance that was
// released, and into a new key store: every key is as it was, in every way that callers see.
func TestRestoreRoundTrips(t *testing.T) {
	for _, instance := range []string{"acme", kms.DefaultInstance} {
		for name, into := range map[string]func(*testing.T, *kmstest.KMS) *kmstest.KMS{
			"same":  func(_ *testing.T, k *kmstest.KMS) *kmstest.KMS { return k },
			"fresh": func(t *testing.T, k *kmstest.KMS) *kmstest.KMS { return kit.NewService(t, k) },
			"released": func(t *testing.T, k *kmstest.KMS) *kmstest.KMS {
				if instance != kms.DefaultInstance {
					require.NoError(t, kit.Err(k.ReleaseInstance(t.Context(), instance, kit.Force())))
				}
				return k
			},
		} {
			t.Run(instance+"/"+name, func(t *testing.T) {
				t.Parallel()
				ctx := t.Context()
				k, recipient := kmstest.New(t), kit.Root(t, 7)
				if instance != kms.DefaultInstance {
					require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: instance, Name: "A. C. Me"})))
					require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, instance, kms.InstanceProtection{On: true, ReleaseOnly: true, Reason: "until it is backed up"})))
				}
				h := newHousehold(t, k, instance)
				before := described(t, k.Manager, instance)
				if instance != kms.DefaultInstance {
					require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, instance, kms.InstanceProtection{})))
				}
				backup := kit.Backup(t, k.Manager, instance, recipient)
				was, err := k.DescribeInstance(ctx, instance)
				require.NoError(t, err)

				to := into(t, k)
				report := kit.Restore(t, to.Manager, backup, recipient, nil)
				require.Empty(t, report.Skipped)
				require.Empty(t, report.Merged)
				require.Empty(t, report.Missing)
				require.Equal(t, 5, report.Restored+report.Unchanged+report.Tombstones)
				came := name == "fresh" || report.Made
				require.Equal(t, came, report.Restored == 4 && report.Tombstones == 1 && report.Aliases == 1)
				require.Equal(t, name == "fresh", !report.UnknownSince.IsZero())
				require.Equal(t, name != "same" && instance != kms.DefaultInstance, report.Made)
				was.BackedUpAt, report.Instance.BackedUpAt = time.Time{}, time.Time{}
				if instance != kms.DefaultInstance || name != "fresh" {
					require.Equal(t, was, report.Instance)
				}
				for _, m := range []*kms.Manager{to.Manager, to.Another(t)} {
					h.works(t, m, instance)
					require.Equal(t, before, described(t, m, instance))
				}

				stored := kit.StoredItems(t, to)
				again := kit.Restore(t, to.Manager, backup, recipient, nil)
				require.Equal(t, 5, again.Unchanged)
				require.Equal(t, stored, kit.StoredItems(t, to), "a second time it has nothing to write")

				// Life goes on: a backup of what was restored, a rotation, and the owner's material.
				require.NoError(t, kit.Err(to.RotateKey(ctx, h.turned)))
				require.NoError(t, kit.Err(to.DeleteKeyMaterial(ctx, h.imported, nil)))
				wrapped, token := kit.WrapMaterial(t, to, h.imported, kit.Material())
				require.NoError(t, kit.Err(to.ImportKeyMaterial(ctx, h.imported, wrapped, token, time.Time{})))
				h.works(t, to.Manager, instance)
				third := kit.NewService(t, k)
				kit.Restore(t, third.Manager, kit.Backup(t, to.Manager, instance, recipient), recipient, nil)
				h.works(t, third.Manager, instance)
			})
		}
	}
}

// TestRestoreOtherMaterial: after a restore the key still takes its own material alone.
func TestRestoreOtherMaterial(t *testing.T) {
	ctx := t.Context()
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	kit.Tenant(t, k, "acme", 0)
	h := newHousehold(t, k, "acme")
	require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, h.imported, nil)))
	to := kit.NewService(t, k)
	kit.Restore(t, to.Manager, kit.Backup(t, k.Manager, "acme", recipient), recipient, nil)
	wrapped, token := kit.WrapMaterial(t, to, h.imported, bytes.Repeat([]byte("evil"), 8))
	require.ErrorIs(t, kit.Err(to.ImportKeyMaterial(ctx, h.imported, wrapped, token, time.Time{})), kms.ErrMaterial)
	require.ErrorIs(t, kit.Err(to.ImportKeyMaterial(ctx, h.imported, h.wrapped, h.token, time.Time{})), kms.ErrImportToken, "one of the other key store")
	wrapped, token = kit.WrapMaterial(t, to, h.imported, kit.Material())
	require.NoError(t, kit.Err(to.ImportKeyMaterial(ctx, h.imported, wrapped, token, time.Time{})))
	h.works(t, to.Manager, "acme")
}

// TestRestoreExpiry: an instance that is made anew has the expiry of the backup while that is
// ahead. Once it is past, the instance comes back with the date that is asked for, without one if
// that is asked for, and else not at all. One that is here keeps its own.
func TestRestoreExpiry(t *testing.T) {
	ctx := t.Context()
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	kit.Tenant(t, k, "acme", 10)
	expires := k.Clock.Now().AddDate(0, 0, 10)
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	asked := k.Clock.Now().AddDate(1, 0, 0)
	dated, never := &kms.RestoreOptions{ExpiresAt: asked}, &kms.RestoreOptions{NeverExpires: true}
	for _, o := range []*kms.RestoreOptions{nil, dated, never} {
		require.Equal(t, expires, kit.Restore(t, kit.NewService(t, k).Manager, backup, recipient, o).Instance.ExpiresAt)
	}
	k.Clock.AdvanceDays(10)
	for _, o := range []*kms.RestoreOptions{nil, dated, never} {
		require.Equal(t, expires, kit.Restore(t, k.Manager, backup, recipient, o).Instance.ExpiresAt, "it is here, and Expired")
	}
	require.Equal(t, asked, kit.Restore(t, kit.NewService(t, k).Manager, backup, recipient, dated).Instance.ExpiresAt)
	require.Zero(t, kit.Restore(t, kit.NewService(t, k).Manager, backup, recipient, never).Instance.ExpiresAt)
	to := kit.NewService(t, k)
	before := kit.StoredItems(t, to)
	for what, o := range map[string]*kms.RestoreOptions{
		"nothing":               nil,
		"the zero options":      {},
		"a date that is past":   {ExpiresAt: k.Clock.Now()},
		"a date, and that none": {ExpiresAt: asked, NeverExpires: true},
	} {
		err := kit.Err(to.Restore(ctx, bytes.NewReader(backup), recipient, o))
		require.ErrorIs(t, err, kms.ErrInvalid, what)
		require.Contains(t, err.Error()+kms.Hint(err), "xpir", what)
		require.Equal(t, before, kit.StoredItems(t, to), what)
	}
}

// TestRestoreAliases: an alias that names another living key stays with that.
func TestRestoreAliases(t *testing.T) {
	ctx := t.Context()
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	a := kit.Tenant(t, k, "acme", 0)
	b := kit.KeyIn(t, k, "acme")
	for _, name := range []string{"alias/deleted", "alias/moved", "alias/kept", "alias/dead"} {
		require.NoError(t, k.CreateAlias(ctx, name, a))
	}
	require.NoError(t, k.UpdateAlias(ctx, "alias/dead", b))
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	require.NoError(t, k.DeleteAlias(ctx, "alias/deleted"))
	other := k.MustCreateKey(t).ID
	require.NoError(t, k.UpdateAlias(ctx, "alias/moved", other))
	kit.Purge(t, k, b)
	report := kit.Restore(t, k.Manager, backup, recipient, nil)
	require.Equal(t, 1, report.Aliases)
	require.ElementsMatch(t, []kms.SkippedItem{
		{KeyID: a, Alias: "alias/moved", Why: kms.SkippedTaken}, {KeyID: b, Alias: "alias/dead", Why: kms.SkippedDeleted}, {KeyID: b, Why: kms.SkippedDeleted},
	}, report.Skipped)
	for name, id := range map[string]string{"alias/deleted": a, "alias/moved": other, "alias/kept": a} {
		key, err := k.DescribeKey(ctx, name)
		require.NoError(t, err)
		require.Equal(t, id, key.ID)
	}
}

// TestRestoreRefused: what is refused before anything is written.
func TestRestoreRefused(t *testing.T) {
	ctx := t.Context()
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	kit.Tenant(t, k, "acme", 0)
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	to := kit.NewService(t, k)
	before := kit.StoredItems(t, to)
	down := errors.New("down")
	for name, c := range map[string]struct {
		err  error
		cond error
	}{
		"no source":           {kit.Err(to.Restore(ctx, nil, recipient, nil)), kms.ErrInvalid},
		"no recipient":        {kit.Err(to.Restore(ctx, bytes.NewReader(backup), nil, nil)), kms.ErrInvalid},
		"a tombstone of none": {kit.Err(to.Restore(ctx, bytes.NewReader(backup), recipient, &kms.RestoreOptions{Tombstones: []kms.Tombstone{{}}})), kms.ErrInvalid},
		"another recipient":   {kit.Err(to.Restore(ctx, bytes.NewReader(backup), to.Root, nil)), kms.ErrBackup},
		"a broken source":     {kit.Err(to.Restore(ctx, &broken{bytes.NewReader(backup), down}, recipient, nil)), down},
		"verify: no source":   {kit.Err(kms.VerifyBackup(ctx, nil, recipient)), kms.ErrInvalid},
		"verify: broken":      {kit.Err(kms.VerifyBackup(ctx, &broken{bytes.NewReader(backup), down}, recipient)), down},
	} {
		require.ErrorIs(t, c.err, c.cond, name)
		if c.cond == down {
			require.ErrorIs(t, c.err, kms.ErrUnavailable)
		}
	}
	hsm := kit.NewService(t, k, func(c *kms.Config) { c.Software, c.HSM = nil, c.Software })
	require.ErrorIs(t, kit.Err(hsm.Restore(ctx, bytes.NewReader(backup), recipient, nil)), kms.ErrUnsupported)
	require.Equal(t, before, kit.StoredItems(t, to))
	require.Len(t, kit.StoredItems(t, hsm), 1)
}

// broken is a source that fails in the middle.
type broken struct {
	io.ReadSeeker
	err error
}

func (b *broken) Read(p []byte) (int, error) {
	if at, _ := b.Seek(0, io.SeekCurrent); at > 300 {
		return 0, b.err
	}
	return b.ReadSeeker.Read(p[:min(len(p), 100)])
}

// TestRestoreFromTheMiddle: the backup begins where the source stands.
func TestRestoreFromTheMiddle(t *testing.T) {
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	id := kit.Tenant(t, k, "acme", 0)
	source := bytes.NewReader(append([]byte("in front"), kit.Backup(t, k.Manager, "acme", recipient)...))
	_, err := source.Seek(8, io.SeekStart)
	require.NoError(t, err)
	to := kit.NewService(t, k)
	require.NoError(t, kit.Err(to.Restore(t.Context(), source, recipient, nil)))
	require.NoError(t, kit.Err(to.Encrypt(t.Context(), id, nil, nil)))
}

// TestRestoreExchanged: a source that is another when it is read the second time.
func TestRestoreExchanged(t *testing.T) {
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	kit.Tenant(t, k, "acme", 0)
	one, two := kit.Backup(t, k.Manager, "acme", recipient), kit.Backup(t, k.Manager, "acme", recipient)
	to := kit.NewService(t, k)
	before := kit.StoredItems(t, to)
	source := &exchanged{Reader: bytes.NewReader(one), other: two}
	require.ErrorIs(t, kit.Err(to.Restore(t.Context(), source, recipient, nil)), kms.ErrBackup)
	require.Equal(t, before, kit.StoredItems(t, to))
	require.Equal(t, 2, source.begun)
}

type exchanged struct {
	*bytes.Reader
	other []byte
	begun int
}

func (e *exchanged) Seek(to int64, whence int) (int64, error) {
	if whence == io.SeekStart {
		if e.begun++; e.begun == 2 {
			e.Reset(e.other)
		}
	}
	return e.Reader.Seek(to, whence)
}

// A module is a provider of which the keys can be taken, or which cannot be reached.
type module struct {
	provider.Provider
	lost map[string]bool // names of key versions
	down error
}

func (p *module) Open(ctx context.Context, id string, spec provider.Spec, material []byte) (provider.Key, error) {
	if p.down != nil {
		return nil, p.down
	}
	if p.lost[id] {
		return nil, provider.ErrNoKey
	}
	return p.Provider.Open(ctx, id, spec, material)
}

// TestRestoreHardware: keys in hardware are restored; what the hardware does not know is told,
// and where it cannot say nothing is written.
func TestRestoreHardware(t *testing.T) {
	ctx := t.Context()
	token := &module{Provider: software.New(), lost: map[string]bool{}}
	with := func(c *kms.Config) { c.HSM = token }
	k, recipient := kmstest.New(t, with), kit.Root(t, 7)
	require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme", Protection: kms.ProtectionHSM})))
	there, lost := kit.KeyIn(t, k, "acme"), kit.KeyIn(t, k, "acme")
	c, err := k.Encrypt(ctx, there, []byte("x"), nil)
	require.NoError(t, err)
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	require.NoError(t, kit.Err(kms.VerifyBackup(ctx, bytes.NewReader(backup), recipient)))

	to := kit.NewService(t, k, with)
	before := kit.StoredItems(t, to)
	token.down = provider.ErrUnavailable
	require.ErrorIs(t, kit.Err(to.Restore(ctx, bytes.NewReader(backup), recipient, nil)), kms.ErrUnavailable)
	require.Equal(t, before, kit.StoredItems(t, to))
	token.down = nil
	token.lost[lost+"/1"] = true
	report := kit.Restore(t, to.Manager, backup, recipient, nil)
	require.Equal(t, []string{lost}, report.Missing)
	require.Equal(t, 2, report.Restored)
	require.NoError(t, kit.Err(to.Decrypt(ctx, c, nil)))
	require.NoError(t, kit.Err(to.DescribeKey(ctx, lost)))
	require.ErrorIs(t, kit.Err(to.Encrypt(ctx, lost, nil, nil)), kms.ErrMaterialGone)

	// Released, its keys are destroyed in the hardware: the tombstones stay.
	require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "acme", nil)))
	report = kit.Restore(t, k.Manager, backup, recipient, nil)
	require.True(t, report.Made)
	require.Equal(t, []kms.SkippedItem{{KeyID: there, Why: kms.SkippedDeleted}, {KeyID: lost, Why: kms.SkippedDeleted}}, report.Skipped)
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrNotFound)

	// An instance of that ID with another level is another.
	soft := kit.NewService(t, k, with)
	kit.Tenant(t, soft, "acme", 0)
	require.ErrorIs(t, kit.Err(soft.Restore(ctx, bytes.NewReader(backup), recipient, nil)), kms.ErrUnsupported)
}

// TestRestoreIntoALivingInstance: one of that ID that has a key of its own takes the keys in.
func TestRestoreIntoALivingInstance(t *testing.T) {
	ctx := t.Context()
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	kit.Tenant(t, k, "acme", 0)
	h := newHousehold(t, k, "acme")
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	to := kit.NewService(t, k)
	own := kit.Tenant(t, to, "acme", 0)
	c, err := to.Encrypt(ctx, own, nil, nil)
	require.NoError(t, err)
	report := kit.Restore(t, to.Manager, backup, recipient, nil)
	require.False(t, report.Made)
	require.Equal(t, 4+1, report.Restored, "and the key that tenant made")
	for _, m := range []*kms.Manager{to.Manager, to.Another(t)} {
		h.works(t, m, "acme")
		require.NoError(t, kit.Err(m.Decrypt(ctx, c, nil)))
	}
	// The ID of a key that is here, in another instance, or damaged, is left alone.
	there := kit.NewService(t, k)
	require.NoError(t, kit.Err(there.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme"})))
	kit.Restore(t, there.Manager, backup, recipient, nil)
	kit.EditItem(t, there, "key/"+h.sealed, func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	kit.EditItem(t, there, "key/"+h.signer, func([]byte) []byte {
		item, err := there.Store.Get(ctx, "instance/"+kms.DefaultInstance)
		require.NoError(t, err)
		return item.Value
	})
	report = kit.Restore(t, there.Manager, backup, recipient, nil)
	require.Equal(t, []kms.SkippedItem{
		{KeyID: h.sealed, Why: kms.SkippedTampered}, {KeyID: h.sealed, Alias: "alias/acme/sealed", Why: kms.SkippedTampered},
		{KeyID: h.signer, Why: kms.SkippedInstance},
	}, report.Skipped)
}

// TestRestoreWaitsForTheRelease: while the keys of a released instance are being destroyed in
// hardware it is not restored; when that is finished it is.
func TestRestoreWaitsForTheRelease(t *testing.T) {
	ctx := t.Context()
	token := &module{Provider: software.New()}
	k := kmstest.New(t, func(c *kms.Config) { c.HSM = token })
	recipient := kit.Root(t, 7)
	require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme", Protection: kms.ProtectionHSM})))
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	other := k.Another(t, func(c *kms.Config) { c.Store = k.Store.Unwrap() })
	refused := false
	k.Store.OnList(func(name string) error {
		if name == "key/" {
			k.Store.OnList(nil)
			err := kit.Err(other.Restore(ctx, bytes.NewReader(backup), recipient, nil))
			require.ErrorIs(t, err, kms.ErrUnavailable)
			require.Contains(t, kms.Hint(err), "Maintain")
			refused = true
		}
		return nil
	})
	require.NoError(t, kit.Err(k.ReleaseInstance(ctx, "acme", kit.Force())))
	require.True(t, refused)
	require.False(t, kms.IsSealed(kit.StoredValue(t, k, "instance/acme")))
	require.True(t, kit.Restore(t, other, backup, recipient, nil).Made)
	require.Equal(t, kms.InstanceActive, instanceState(t, k.Manager, "acme"))
	require.NoError(t, kit.Err(k.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "acme"})))
}

// TestRestoreMigrated: a key that was taken over from another system opens what it made there,
// where its backup was restored.
func TestRestoreMigrated(t *testing.T) {
	ctx := t.Context()
	for _, old := range []kit.OldKey{kit.OldKeyring(t, "invoices", 2), oldTransit(t, "invoices", 2)} {
		k, recipient := kmstest.New(t, func(c *kms.Config) { c.Legacy = []legacy.Source{old.Source} }), kit.Root(t, 7)
		require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme"})))
		require.NoError(t, kit.Err(k.MigrateLegacyKey(ctx, old.ID, "acme")))
		c, err := k.Encrypt(ctx, old.ID, []byte("new"), nil)
		require.NoError(t, err)
		backup := kit.Backup(t, k.Manager, "acme", recipient)
		to := kit.NewService(t, k, func(c *kms.Config) { c.Legacy = []legacy.Source{old.Empty} })
		require.Equal(t, 1, kit.Restore(t, to.Manager, backup, recipient, nil).Restored)
		require.Equal(t, 1, kit.Restore(t, to.Manager, backup, recipient, nil).Unchanged)
		for _, m := range []*kms.Manager{to.Manager, to.Another(t)} {
			for _, made := range old.Ciphertexts {
				plain, err := m.Decrypt(ctx, made, old.EC)
				require.NoError(t, err)
				require.Equal(t, "old", string(plain))
			}
			require.NoError(t, kit.Err(m.Decrypt(ctx, c, nil)))
		}
	}
}
