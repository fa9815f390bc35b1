package kms_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// frozenBackup is a backup, its recipient's key, and ciphertexts of its keys:
// testdata/vectors/backup.json.
type frozenBackup struct {
	Recipient []byte            `json:"recipient"` // guards nothing but this file
	Now       time.Time         `json:"now"`       // the clock with which to restore it
	Backup    []byte            `json:"backup"`
	Info      kms.BackupInfo    `json:"info"`
	Keys      map[string]string `json:"keys"`  // states by key ID
	Texts     map[string][]byte `json:"texts"` // ciphertexts by their plaintexts
	Message   []byte            `json:"message"`
	Signer    string            `json:"signer"` // an ED25519 key
	Signature []byte            `json:"signature"`
}

func loadFrozenBackup(t testing.TB) *frozenBackup {
	var f frozenBackup
	readVectors(t, "backup.json", &f)
	require.GreaterOrEqual(t, len(f.Keys), 6)
	return &f
}

// open makes a service on a new key store.
func (f *frozenBackup) open(t testing.TB) (m *kms.Manager, recipient kms.Root) {
	recipient, err := software.NewRoot(f.Recipient)
	require.NoError(t, err)
	root, err := software.NewRoot(kit.Pattern(32))
	require.NoError(t, err)
	m, err = kms.Open(t.Context(), kms.Config{Store: new(keystore.Memory), Root: root, Software: software.New(),
		Now: func() time.Time { return f.Now }, PurgeDelay: -1})
	require.NoError(t, err)
	return m, recipient
}

// TestFrozenBackup: a backup of an earlier version is verified and restored, and its keys are
// what they were.
func TestFrozenBackup(t *testing.T) {
	ctx := t.Context()
	f := loadFrozenBackup(t)
	m, recipient := f.open(t)
	info, err := kms.VerifyBackup(ctx, bytes.NewReader(f.Backup), recipient)
	require.NoError(t, err)
	require.Equal(t, f.Info, info)
	report := kit.Restore(t, m, f.Backup, recipient, nil)
	require.True(t, report.Made)
	require.Equal(t, len(f.Keys)-1, report.Restored)
	require.Equal(t, 1, report.Tombstones)
	states := map[string]bool{}
	for id, state := range f.Keys {
		states[state] = true
		require.Equal(t, state, kit.StateOf(t, m, id).String())
	}
	require.Len(t, states, 5)
	for plain, c := range f.Texts {
		got, err := m.Decrypt(ctx, c, nil)
		require.NoError(t, err, plain)
		require.Equal(t, plain, string(got))
	}
	require.NoError(t, m.Verify(ctx, f.Signer, kms.SignEd25519, f.Message, f.Signature))
	require.NoError(t, kit.Err(m.Encrypt(ctx, "alias/invoices", nil, nil)))
}

// TestFreezeBackup makes testdata/vectors/backup.json, with -freeze and where it is not.
func TestFreezeBackup(t *testing.T) {
	folder := t.TempDir() // that it could be done
	if *freeze {
		folder = filepath.Join("testdata", "vectors")
	}
	path := filepath.Join(folder, "backup.json")
	_, err := os.Stat(path)
	require.True(t, errors.Is(err, fs.ErrNotExist), "%s is frozen", path)
	b, err := json.MarshalIndent(freezeBackup(t), "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(b, '\n'), 0o644))
}

func freezeBackup(t *testing.T) *frozenBackup {
	ctx := t.Context()
	f := &frozenBackup{Recipient: kit.Pattern(32), Keys: map[string]string{}, Texts: map[string][]byte{}}
	k := kmstest.New(t)
	require.NoError(t, kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme", Name: "A. C. Mé & Söhne"})))
	require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, "acme", kms.InstanceProtection{On: true, ReleaseOnly: true, Reason: "until the audit"})))
	h := newHousehold(t, k, "acme")
	disabled, pending, waiting := kit.KeyIn(t, k, "acme"), kit.KeyIn(t, k, "acme"), kit.ExternalKeyIn(t, k, "acme")
	for _, id := range []string{disabled, pending} {
		require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
	}
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, pending, 366)))
	require.NoError(t, k.CreateAlias(ctx, "alias/invoices", h.turned))
	f.Now, f.Texts, f.Message, f.Signer, f.Signature = k.Clock.Now(), h.texts, h.message, h.signer, h.signature
	for _, id := range []string{h.sealed, h.turned, h.imported, h.signer, h.gone, disabled, pending, waiting} {
		f.Keys[id] = kit.StateOf(t, k.Manager, id).String()
	}
	recipient, err := software.NewRoot(f.Recipient)
	require.NoError(t, err)
	var b bytes.Buffer
	f.Info, err = k.BackupInstance(ctx, "acme", &b, recipient, nil)
	require.NoError(t, err)
	f.Backup = b.Bytes()
	return f
}
