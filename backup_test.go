package kms_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestBackupInfo: what a backup says of itself, when it is made, verified and restored; and
// that the instance knows of it.
func TestBackupInfo(t *testing.T) {
	ctx := t.Context()
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	const id = "acme"
	keep := kit.Tenant(t, k, id, 0)
	gone := kit.KeyIn(t, k, id)
	other := k.MustCreateKey(t).ID
	require.NoError(t, k.CreateAlias(ctx, "alias/keep", keep))
	require.NoError(t, k.CreateAlias(ctx, "alias/gone", gone))
	require.NoError(t, k.CreateAlias(ctx, "alias/other", other))
	kit.Purge(t, k, gone)

	var b bytes.Buffer
	var told []int
	info, err := k.BackupInstance(ctx, id, &b, recipient, &kms.BackupOptions{Progress: func(n int) { told = append(told, n) }})
	require.NoError(t, err)
	require.Equal(t, kms.BackupInfo{Instance: id, Name: "Tenant acme", At: k.Clock.Now(), Keys: 2, Tombstones: 1, Aliases: 1}, info)
	require.Equal(t, []int{2}, told)
	in, err := k.DescribeInstance(ctx, id)
	require.NoError(t, err)
	require.Equal(t, info.At, in.BackedUpAt)

	verified, err := kms.VerifyBackup(ctx, bytes.NewReader(b.Bytes()), recipient)
	require.NoError(t, err)
	require.Equal(t, info, verified)
	require.Equal(t, info, kit.Restore(t, k.Manager, b.Bytes(), recipient, nil).Backup)
}

// TestBackupHoldsNoPlainKey: who has a backup and not the recipient has nothing but the facts of
// its header.
func TestBackupHoldsNoPlainKey(t *testing.T) {
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	const id = "acme"
	kit.Tenant(t, k, id, 0)
	key, err := k.CreateKey(t.Context(), &kms.CreateKeyOptions{Instance: id, Description: "a telling description"})
	require.NoError(t, err)
	backup := kit.Backup(t, k.Manager, id, recipient)
	for _, word := range []string{key.ID, "telling", "description", `"versions"`} {
		require.False(t, bytes.Contains(backup, []byte(word)), word)
	}
	require.True(t, bytes.Contains(backup, []byte(id)))
	again := kit.Backup(t, k.Manager, id, recipient)
	require.Equal(t, len(backup), len(again))
	require.False(t, bytes.Equal(backup[200:], again[200:]), "two backups of the same are under two keys")
}

// TestBackupWhen: it works while the instance is Active, Expired, and to be released, up to
// the moment when its key is destroyed.
func TestBackupWhen(t *testing.T) {
	ctx := t.Context()
	recipient := kit.Root(t, 7)
	var saved []byte
	k := kmstest.New(t, func(c *kms.Config) {
		c.OnRelease = hookThat(t, recipient, func(b []byte) { saved = b })
	})
	const id = "acme"
	key := kit.Tenant(t, k, id, 10)
	ciphertext, err := k.Encrypt(ctx, key, []byte("hello"), nil)
	require.NoError(t, err)
	kit.Backup(t, k.Manager, id, recipient)
	k.Clock.AdvanceDays(10)
	kit.Backup(t, k.Manager, id, recipient)
	k.Clock.AdvanceDays(kms.GraceDays)
	kit.Backup(t, k.Manager, id, recipient)
	report, err := k.Maintain(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{id}, report.Instances.Released)
	require.ErrorIs(t, kit.Err(k.BackupInstance(ctx, id, io.Discard, recipient, nil)), kms.ErrNotFound)

	require.ErrorIs(t, kit.Err(k.Restore(ctx, bytes.NewReader(saved), recipient, nil)), kms.ErrInvalid, "its date is past")
	back := kit.Restore(t, k.Manager, saved, recipient, &kms.RestoreOptions{NeverExpires: true})
	require.True(t, back.Made)
	require.Equal(t, kms.InstanceActive, back.Instance.State)
	require.Zero(t, back.Instance.ExpiresAt)
	plain, err := k.Decrypt(ctx, ciphertext, nil)
	require.NoError(t, err)
	require.Equal(t, "hello", string(plain))
}

// hookThat is a Config.OnRelease that makes a backup and gives it to save.
func hookThat(t testing.TB, recipient kms.Root, save func([]byte)) func(context.Context, *kms.Manager, kms.Instance) error {
	return func(_ context.Context, m *kms.Manager, in kms.Instance) error {
		save(kit.Backup(t, m, in.ID, recipient))
		return nil
	}
}

// TestReleaseNeedsTheBackup: a release by hand asks for a backup of the instance as it is now.
func TestReleaseNeedsTheBackup(t *testing.T) {
	ctx := t.Context()
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	const id = "acme"
	key := kit.Tenant(t, k, id, 0)
	release := func() error { return kit.Err(k.ReleaseInstance(ctx, id, nil)) }
	require.ErrorIs(t, release(), kms.ErrNoBackup)
	kit.Backup(t, k.Manager, id, recipient)
	require.NoError(t, kit.Err(k.DisableKey(ctx, key)))
	require.ErrorIs(t, release(), kms.ErrNoBackup)
	kit.Backup(t, k.Manager, id, recipient)
	require.NoError(t, kit.Err(k.DisableKey(ctx, k.MustCreateKey(t).ID)), "a key of another instance")
	require.NoError(t, release())
}

// needsBackup reports whether a release asks for a backup.
func needsBackup(t *testing.T, m *kms.Manager, instance string) bool {
	x, err := m.Explain(t.Context(), kms.OpReleaseInstance, instance)
	require.NoError(t, err)
	return slices.ContainsFunc(x.Reasons, func(err error) bool { return errors.Is(err, kms.ErrNoBackup) })
}

// A backedUpChange is a call that changes something which a backup holds.
type backedUpChange struct {
	origin kms.Origin
	state  kms.State
	before func(*kit.Subject) error // what the call needs; nil: nothing
	call   func(*kit.Subject) error
}

// changesBackups are the methods of a Manager that change what a backup of the instance of a Subject
// holds, and how.
func changesBackups(ctx context.Context) map[string]backedUpChange {
	key := func(call func(*kit.Subject) error) backedUpChange {
		return backedUpChange{kms.OriginKMS, kms.Enabled, nil, call}
	}
	table := kms.Dependent{Name: "table"}
	return map[string]backedUpChange{
		"CreateKey": key(func(s *kit.Subject) error {
			return kit.Err(s.CreateKey(ctx, &kms.CreateKeyOptions{Instance: s.Instance}))
		}),
		"SetDescription": key(func(s *kit.Subject) error { return kit.Err(s.SetDescription(ctx, s.ID, "new")) }),
		"SetTags":        key(func(s *kit.Subject) error { return kit.Err(s.SetTags(ctx, s.ID, map[string]string{"a": "b"})) }),
		"EnableKey":      {kms.OriginKMS, kms.Disabled, nil, func(s *kit.Subject) error { return kit.Err(s.EnableKey(ctx, s.ID)) }},
		"DisableKey":     key(func(s *kit.Subject) error { return kit.Err(s.DisableKey(ctx, s.ID)) }),
		"ScheduleKeyDeletion": {kms.OriginKMS, kms.Disabled, nil, func(s *kit.Subject) error {
			return kit.Err(s.ScheduleKeyDeletion(ctx, s.ID, 7))
		}},
		"CancelKeyDeletion": {kms.OriginKMS, kms.PendingDeletion, nil, func(s *kit.Subject) error {
			return kit.Err(s.CancelKeyDeletion(ctx, s.ID))
		}},
		"SetDeletionProtection": key(func(s *kit.Subject) error { return kit.Err(s.SetDeletionProtection(ctx, s.ID, true, "")) }),
		"AddDependent":          key(func(s *kit.Subject) error { return kit.Err(s.AddDependent(ctx, s.ID, table)) }),
		"RemoveDependent": {kms.OriginKMS, kms.Enabled, func(s *kit.Subject) error { return kit.Err(s.AddDependent(ctx, s.ID, table)) },
			func(s *kit.Subject) error { return kit.Err(s.RemoveDependent(ctx, s.ID, table)) }},
		"SetBrownout": key(func(s *kit.Subject) error {
			return kit.Err(s.SetBrownout(ctx, s.ID, 0.5, s.Clock.Now().AddDate(0, 0, 1)))
		}),
		"RotateKey":            key(func(s *kit.Subject) error { return kit.Err(s.RotateKey(ctx, s.ID)) }),
		"UpdateRotationPolicy": key(func(s *kit.Subject) error { return kit.Err(s.UpdateRotationPolicy(ctx, s.ID, 7)) }),
		"ImportKeyMaterial": {kms.OriginExternal, kms.PendingImport, nil, func(s *kit.Subject) error {
			return kit.Err(s.ImportKeyMaterial(ctx, s.ID, s.Wrapped, s.Token, time.Time{}))
		}},
		"DeleteKeyMaterial": {kms.OriginExternal, kms.Enabled, nil, func(s *kit.Subject) error { return kit.Err(s.DeleteKeyMaterial(ctx, s.ID, nil)) }},
		"CreateAlias":       key(func(s *kit.Subject) error { return s.CreateAlias(ctx, "alias/new", s.ID) }),
		"UpdateAlias":       key(func(s *kit.Subject) error { return s.UpdateAlias(ctx, s.Elsewhere, s.ID) }),
		"DeleteAlias":       key(func(s *kit.Subject) error { return s.DeleteAlias(ctx, s.Alias) }),
		"Shred":             key(func(s *kit.Subject) error { return kit.Err(s.Shred(ctx, s.Instance)) }),
		"RenewInstance":     key(func(s *kit.Subject) error { return kit.Err(s.RenewInstance(ctx, s.Instance, time.Time{})) }),
		"SetInstanceDeletionProtection": key(func(s *kit.Subject) error {
			return kit.Err(s.SetInstanceDeletionProtection(ctx, s.Instance, kms.InstanceProtection{On: true, Reason: ""}))
		}),
		"Maintain": {kms.OriginKMS, kms.Deleted, nil, func(s *kit.Subject) error { return kit.Err(s.Maintain(ctx)) }},
		"Restore": {kms.OriginKMS, kms.Enabled, func(s *kit.Subject) error {
			var b bytes.Buffer
			err := kit.Err(s.KMS.BackupInstance(ctx, s.Instance, &b, s.Root, nil))
			s.Wrapped = b.Bytes()
			return errors.Join(err, s.DeleteAlias(ctx, s.Alias))
		}, func(s *kit.Subject) error { return kit.Err(s.Restore(ctx, bytes.NewReader(s.Wrapped), s.Root, nil)) }},
		"MigrateLegacyKey": {},
	}
}

// TestReleaseNeedsTheBackupAsItIs goes through all calls: after one that changes what a backup holds
// a release asks for another backup, and after any other it does not.
func TestReleaseNeedsTheBackupAsItIs(t *testing.T) {
	ctx, recipient := t.Context(), kit.Root(t, 7)
	changes := changesBackups(ctx)
	for name := range kit.EveryCall(ctx, &kit.Subject{}, nil) {
		change, changing := changes[name]
		if name == "MigrateLegacyKey" || name == "ReleaseInstance" {
			continue // see below; what was released is gone
		}
		if !changing {
			change = backedUpChange{kms.OriginKMS, kms.Enabled, nil, func(s *kit.Subject) error {
				if call := kit.EveryCall(ctx, s, s.Manager)[name]; call != nil {
					_ = call() // a key of another kind refuses it
				}
				return nil
			}}
		}
		s := kit.NewSubject(t, change.origin, change.state)
		if change.before != nil {
			require.NoError(t, change.before(s), name)
		}
		kit.Backup(t, s.Manager, s.Instance, recipient)
		require.False(t, needsBackup(t, s.Manager, s.Instance), name)
		require.NoError(t, change.call(s), name)
		require.Equal(t, changing, needsBackup(t, s.Manager, s.Instance), name)
	}
	k, old := kit.OldIn(t, "acme", false)
	kit.Backup(t, k.Manager, "acme", recipient)
	require.NoError(t, kit.Err(k.MigrateLegacyKey(ctx, old.ID, "acme")))
	require.True(t, needsBackup(t, k.Manager, "acme"))
	kit.Backup(t, k.Manager, "acme", recipient)
	k.Clock.AdvanceDays(1)
	require.False(t, needsBackup(t, k.Manager, "acme"), "time alone changes nothing")

	// The counts of hardware keys change with every use, and no release asks for them: it destroys
	// the keys that they count.
	counted, id := kit.CountedIn(t, "acme")
	kit.Backup(t, counted.Manager, "acme", recipient)
	for range 3000 { // more than a process takes at once
		require.NoError(t, kit.Err(counted.Encrypt(ctx, id, nil, nil)))
	}
	require.False(t, needsBackup(t, counted.Manager, "acme"))
}

// TestBackupThatFails: one that could not be written is none; one that somebody tampered with
// says so.
func TestBackupThatFails(t *testing.T) {
	ctx := t.Context()
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	const id = "acme"
	kit.Tenant(t, k, id, 0)
	for range 199 {
		kit.KeyIn(t, k, id)
	}
	full := errors.New("disk full")
	size := len(kit.Backup(t, k.Manager, id, recipient))
	k.Clock.Advance(time.Hour)
	before := kit.StoredItems(t, k)
	for _, room := range []int{0, 7, 200, 70_000, size - 1} {
		err := kit.Err(k.BackupInstance(ctx, id, &short{room, full}, recipient, nil))
		require.ErrorIs(t, err, kms.ErrUnavailable)
		require.ErrorIs(t, err, full)
	}
	require.Equal(t, before, kit.StoredItems(t, k))

	require.ErrorIs(t, kit.Err(k.BackupInstance(ctx, id, io.Discard, forgetful{recipient}, nil)), kms.ErrRoot)
	require.ErrorIs(t, kit.Err(k.BackupInstance(ctx, id, io.Discard, nil, nil)), kms.ErrInvalid)
	require.ErrorIs(t, kit.Err(k.BackupInstance(ctx, id, nil, recipient, nil)), kms.ErrInvalid)
	require.ErrorIs(t, kit.Err(k.BackupInstance(ctx, "nobody", io.Discard, recipient, nil)), kms.ErrNotFound)
	require.ErrorIs(t, kit.Err(k.BackupInstance(ctx, "NOBODY", io.Discard, recipient, nil)), kms.ErrInvalid)

	key := kit.KeyIn(t, k, id)
	kit.EditItem(t, k, "key/"+key, func(b []byte) []byte { b[len(b)-2] ^= 1; return b })
	info, err := k.BackupInstance(ctx, id, io.Discard, recipient, nil)
	require.NoError(t, err)
	require.Equal(t, 200, info.Keys)
	require.Equal(t, 1, info.Tampered)
}

// short is a writer with so much room.
type short struct {
	room int
	err  error
}

func (s *short) Write(p []byte) (int, error) {
	if len(p) > s.room {
		return 0, s.err
	}
	s.room -= len(p)
	return len(p), nil
}

// forgetful is a root that does not open what it sealed.
type forgetful struct{ kms.Root }

func (forgetful) Decrypt(_, _ []byte) ([]byte, error) { return nil, errors.New("what was it") }

// TestTombstones: all keys that are deleted, purged or not.
func TestTombstones(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, func(c *kms.Config) { c.PurgeDelay = 0 })
	const id = "acme"
	first, second := kit.Tenant(t, k, id, 0), k.MustCreateKey(t).ID
	k.MustCreateKey(t)
	for _, key := range []string{first, second} {
		require.NoError(t, kit.Err(k.DisableKey(ctx, key)))
		require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, key, 7)))
	}
	require.Empty(t, kit.Tombstones(t, k.Manager))
	k.Clock.AdvanceDays(7)
	at := k.Clock.Now()
	all := []kms.Tombstone{{KeyID: first, Instance: id, DeletedAt: at}, {KeyID: second, Instance: kms.DefaultInstance, DeletedAt: at}}
	require.Equal(t, all, kit.Tombstones(t, k.Manager))
	require.NoError(t, kit.Err(k.Maintain(ctx)))
	k.Clock.AdvanceDays(2)
	report, err := k.Maintain(ctx)
	require.NoError(t, err)
	require.Len(t, report.Purged, 2)
	require.Equal(t, all, kit.Tombstones(t, k.Manager))

	for tomb, err := range k.Tombstones(ctx) { // who has seen enough stops
		require.NoError(t, err)
		require.Equal(t, first, tomb.KeyID)
		break
	}
	kit.EditItem(t, k, "key/"+first, func([]byte) []byte { return []byte("noise") })
	var tampered []string
	for tomb, err := range k.Tombstones(ctx) {
		if errors.Is(err, kms.ErrTampered) {
			tampered = append(tampered, tomb.KeyID)
		}
	}
	require.Equal(t, []string{first}, tampered)
	down := errors.New("down")
	k.Store.OnList(func(string) error { return down })
	for _, err := range k.Tombstones(ctx) {
		require.ErrorIs(t, err, down)
	}
}
