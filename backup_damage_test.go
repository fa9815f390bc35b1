package kms_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// sealedFrame is the size of a frame in a backup: 64 KiB and what the seal adds.
const sealedFrame = 64<<10 + 40

// frames cuts a backup behind its header into its frames.
func frames(t testing.TB, backup []byte) (header []byte, all [][]byte) {
	at := len("KEYHOLD\x01")
	for range 2 {
		at += 4 + int(binary.BigEndian.Uint32(backup[at:]))
	}
	all = slices.Collect(slices.Chunk(backup[at:], sealedFrame))
	require.NotEmpty(t, all)
	return backup[:at], all
}

// refusing holds VerifyBackup and Restore to ErrBackup, for backups that are none.
type refusing struct {
	to        *kmstest.KMS
	recipient kms.Root
	tries     int
}

func (r *refusing) refuse(t *testing.T, backup []byte, what string, at ...int) {
	t.Helper()
	r.tries++
	_, err := kms.VerifyBackup(t.Context(), bytes.NewReader(backup), r.recipient)
	require.ErrorIs(t, err, kms.ErrBackup, "%s %v", what, at)
	_, err = r.to.Restore(t.Context(), bytes.NewReader(backup), r.recipient, nil)
	require.ErrorIs(t, err, kms.ErrBackup, "%s %v", what, at)
	require.Equal(t, "InvalidBackup", kms.Code(err))
}

// unchanging is a fresh service whose store must not be written to.
func unchanging(t *testing.T, k *kmstest.KMS, recipient kms.Root) *refusing {
	to := kit.NewService(t, k)
	to.Store.OnPut(func(name string) (bool, error) {
		t.Errorf("put %s", name)
		return true, nil
	})
	return &refusing{to: to, recipient: recipient}
}

// TestBackupDamaged: whatever was done to a backup of one frame, byte by byte, is refused, and
// nothing is written.
func TestBackupDamaged(t *testing.T) {
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	id := kit.Tenant(t, k, "acme", 0)
	require.NoError(t, k.CreateAlias(t.Context(), "alias/acme", id))
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	r := unchanging(t, k, recipient)
	for at := range backup {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			damaged := bytes.Clone(backup)
			damaged[at] ^= flip
			r.refuse(t, damaged, "flipped at", at)
		}
		r.refuse(t, backup[:at], "cut at", at)
		r.refuse(t, append(bytes.Clone(backup[:at]), backup[at+1:]...), "without", at)
		r.refuse(t, append(append(bytes.Clone(backup[:at]), 0), backup[at:]...), "with a zero at", at)
	}
	r.refuse(t, append(bytes.Clone(backup), 0), "with a byte behind it")
	r.refuse(t, append(bytes.Clone(backup), backup...), "twice")
	r.refuse(t, append([]byte{0}, backup...), "with a byte in front of it")
	t.Logf("%d damaged backups of %d bytes were refused", r.tries, len(backup))
}

// TestBackupRearranged: frames that were taken away, repeated, exchanged, or that come from
// another backup of the same instance, are refused, and nothing is written.
func TestBackupRearranged(t *testing.T) {
	ctx := t.Context()
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	kit.Tenant(t, k, "acme", 0)
	for range 80 {
		_, err := k.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "acme", Description: string(bytes.Repeat([]byte("d"), 4000))})
		require.NoError(t, err)
	}
	backup, other := kit.Backup(t, k.Manager, "acme", recipient), kit.Backup(t, k.Manager, "acme", recipient)
	header, all := frames(t, backup)
	otherHeader, others := frames(t, other)
	require.GreaterOrEqual(t, len(all), 5)
	require.Len(t, others, len(all))
	r := unchanging(t, k, recipient)
	join := func(header []byte, all [][]byte) []byte { return slices.Concat(append([][]byte{header}, all...)...) }
	require.NoError(t, kit.Err(kms.VerifyBackup(ctx, bytes.NewReader(join(header, all)), recipient)))
	for i := range all {
		r.refuse(t, join(header, slices.Delete(slices.Clone(all), i, i+1)), "without frame", i)
		r.refuse(t, join(header, slices.Insert(slices.Clone(all), i, all[i])), "with two of frame", i)
		r.refuse(t, join(header, all[:i]), "cut before frame", i)
		mixed := slices.Clone(all)
		mixed[i] = others[i]
		r.refuse(t, join(header, mixed), "with another's frame", i)
		r.refuse(t, join(header, append(slices.Clone(all[:i]), others[i:]...)), "going on with another's frame", i)
		for j := range i {
			swapped := slices.Clone(all)
			swapped[i], swapped[j] = all[j], all[i]
			r.refuse(t, join(header, swapped), "swapped", i, j)
		}
	}
	r.refuse(t, join(otherHeader, all), "under another's header")
	r.refuse(t, join(header, append(slices.Clone(all), others...)), "with another behind it")
	step := 4001
	if campaign.Running() {
		step = 101
	}
	for at := 0; at < len(backup); at += step {
		damaged := bytes.Clone(backup)
		damaged[at] ^= 0x10
		r.refuse(t, damaged, "flipped at", at)
		r.refuse(t, backup[:at], "cut at", at)
	}
	t.Logf("%d rearranged and damaged backups of %d frames were refused", r.tries, len(all))
}

// TestBackupIsTrusted: who holds the recipient can make a backup of anything. What could not be
// a key, an alias, an instance is refused all the same, and never panics.
func TestBackupIsTrusted(t *testing.T) {
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	id := kit.Tenant(t, k, "acme", 0)
	require.NoError(t, k.CreateAlias(t.Context(), "alias/acme", id))
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	items, err := kms.BackupItems(backup, recipient)
	require.NoError(t, err)
	require.Len(t, items, 4)
	again, err := kms.MakeBackup(backup, recipient, items)
	require.NoError(t, err)
	require.NoError(t, kit.Err(kms.VerifyBackup(t.Context(), bytes.NewReader(again), recipient)))
	r := unchanging(t, k, recipient)
	for name, change := range map[string]func([]kms.BackupItem) []kms.BackupItem{
		"nothing":             func(all []kms.BackupItem) []kms.BackupItem { return nil },
		"no instance":         func(all []kms.BackupItem) []kms.BackupItem { return all[1:] },
		"no closing":          func(all []kms.BackupItem) []kms.BackupItem { return all[:3] },
		"two closings":        func(all []kms.BackupItem) []kms.BackupItem { return append(all, all[3]) },
		"something behind it": func(all []kms.BackupItem) []kms.BackupItem { return append(all, all[2]) },
		"two instances":       func(all []kms.BackupItem) []kms.BackupItem { return slices.Insert(all, 1, all[0]) },
		"a key twice":         func(all []kms.BackupItem) []kms.BackupItem { return kms.Reclose(slices.Insert(all, 1, all[1])) },
		"an alias twice":      func(all []kms.BackupItem) []kms.BackupItem { return kms.Reclose(slices.Insert(all, 2, all[2])) },
		"an alias of no key":  func(all []kms.BackupItem) []kms.BackupItem { return kms.Reclose(slices.Delete(all, 1, 2)) },
		"the alias first":     func(all []kms.BackupItem) []kms.BackupItem { all[1], all[2] = all[2], all[1]; return all },
		"an unknown kind":     func(all []kms.BackupItem) []kms.BackupItem { all[2].Kind = 6; return all },
		"a count of noise":    func(all []kms.BackupItem) []kms.BackupItem { return slices.Insert(all, 1, countItem("{}")) },
		"a count behind keys": func(all []kms.BackupItem) []kms.BackupItem { return slices.Insert(all, 2, countItem(aCount)) },
		"the count of no key": func(all []kms.BackupItem) []kms.BackupItem { return slices.Insert(all, 1, countItem(aCount)) },
		"the count of a software key": func(all []kms.BackupItem) []kms.BackupItem {
			return slices.Insert(all, 1, countItem(strings.Replace(aCount, "01890000-0000-7000-8000-000000000000", string(all[1].Body[:36]), 1)))
		},
		"a count twice": func(all []kms.BackupItem) []kms.BackupItem {
			return slices.Insert(all, 1, countItem(aCount), countItem(aCount))
		},
		"kind 0":                func(all []kms.BackupItem) []kms.BackupItem { all[1].Kind = 0; return all },
		"an alias that is none": func(all []kms.BackupItem) []kms.BackupItem { all[2].Body = append(all[2].Body, ' '); return all },
		"a reserved letter":     func(all []kms.BackupItem) []kms.BackupItem { all[2].Body[36] = 'A'; return all },
		"a key of another ID":   func(all []kms.BackupItem) []kms.BackupItem { all[1].Body[35] ^= 1; return all },
		"a key of no ID":        func(all []kms.BackupItem) []kms.BackupItem { all[1].Body[8] = 'x'; return all },
		"a record changed":      func(all []kms.BackupItem) []kms.BackupItem { all[1].Body[100] ^= 1; return all },
		"another instance key":  func(all []kms.BackupItem) []kms.BackupItem { all[0].Body[0] ^= 1; return all },
		"a longer instance":     func(all []kms.BackupItem) []kms.BackupItem { all[0].Body = append(all[0].Body, ' '); return all },
		"an empty key":          func(all []kms.BackupItem) []kms.BackupItem { all[1].Body = nil; return all },
		"an empty alias":        func(all []kms.BackupItem) []kms.BackupItem { all[2].Body = nil; return all },
		"an empty instance":     func(all []kms.BackupItem) []kms.BackupItem { all[0].Body = nil; return all },
		"another name": func(all []kms.BackupItem) []kms.BackupItem {
			all[0].Body = bytes.Replace(all[0].Body, []byte(`"id":"acme"`), []byte(`"id":"emca"`), 1)
			return all
		},
		"another level": func(all []kms.BackupItem) []kms.BackupItem {
			all[0].Body = bytes.Replace(all[0].Body, []byte(`SOFTWARE`), []byte(`PAPER`), 1)
			return all
		},
		"other counts": func(all []kms.BackupItem) []kms.BackupItem {
			all[3].Body = bytes.Replace(all[3].Body, []byte(`"aliases":1`), []byte(`"aliases":2`), 1)
			return all
		},
		"another digest": func(all []kms.BackupItem) []kms.BackupItem { all[3].Body[len(all[3].Body)-8] ^= 1; return all },
	} {
		odd := make([]kms.BackupItem, len(items), len(items)+1)
		for i, item := range items {
			odd[i] = kms.BackupItem{Kind: item.Kind, Body: bytes.Clone(item.Body)}
		}
		made, err := kms.MakeBackup(backup, recipient, change(odd))
		require.NoError(t, err)
		r.refuse(t, made, name)
	}
	kit.KeyIn(t, k, "acme")
	two := kit.Backup(t, k.Manager, "acme", recipient)
	items, err = kms.BackupItems(two, recipient)
	require.NoError(t, err)
	items[2], items[3] = items[3], items[2]
	made, err := kms.MakeBackup(two, recipient, items)
	require.NoError(t, err)
	r.refuse(t, made, "an alias between the keys")
	for _, bad := range []string{
		`{"spec":"AES_512"}`, `{"usage":"SIGN/VERIFY"}`, `{"usage":""}`, `{"origin":"PAPER"}`, `{"protection":"PAPER"}`, `{"owner":"NOBODY"}`,
		`{"owner":"SERVICE"}`, `{"service":"x"}`, `{"rotationDays":6}`, `{"brownShare":1000001}`, `{"primary":2}`, `{"versions":[{"version":1,"sealed":"AAAA"}]}`,
		`{"versions":[{"version":2,"sealed":"AAAA"},{"version":1,"sealed":"AAAA"}]}`, `{"old":[{"scheme":"tink","locator":"1","sealed":"AAAA"}]}`,
		`{"doomed":[{"version":1,"sealed":"AAAA"}]}`, `{"shred":"AAAA"}`, `{"fingerprint":"AAAA"}`, `{"tags":{"":"x"}}`, `{"dependents":[{"name":""}]}`,
		`{"destroyedAt":"2026-01-01T00:00:00Z"}`, `{"unknown":1}`, `{"id":"01890000-0000-7000-8000-000000000000"}`,
	} {
		made, err := kms.OddBackup(backup, recipient, []byte(bad))
		require.NoError(t, err, bad)
		r.refuse(t, made, bad)
	}
}

// aCount is the count of a hardware key.
const aCount = `{"key":"01890000-0000-7000-8000-000000000000","seq":1,"versions":{"1":1024}}`

func countItem(body string) kms.BackupItem { return kms.BackupItem{Kind: 5, Body: []byte(body)} }

// TestRestoreCountsFail: a store that does not take the count of a hardware key ends a Restore before
// the key is here.
func TestRestoreCountsFail(t *testing.T) {
	k, _ := kit.CountedIn(t, "acme")
	recipient := kit.Root(t, 7)
	for range 3 {
		require.NoError(t, kit.Err(k.Encrypt(t.Context(), kit.KeyIn(t, k, "acme"), nil, nil)))
	}
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	to := kit.NewService(t, k, kit.InHardware)
	to.Store.OnPut(func(name string) (bool, error) {
		if strings.HasPrefix(name, "allowance/") {
			return false, errors.New("disk full")
		}
		require.False(t, strings.HasPrefix(name, "key/"), "a key before its count")
		return true, nil
	})
	_, err := to.Restore(t.Context(), bytes.NewReader(backup), recipient, nil)
	require.ErrorIs(t, err, kms.ErrUnavailable)
}

// TestBackupOfATamperedKeyOnAStoreThatFails: a record that does not authenticate is read once more. If
// the store does not answer that, the backup fails: nobody knows what the record is.
func TestBackupOfATamperedKeyOnAStoreThatFails(t *testing.T) {
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	id := kit.Tenant(t, k, "acme", 0)
	kit.EditItem(t, k, "key/"+id, func(value []byte) []byte { value[len(value)-2] ^= 1; return value })
	require.NoError(t, kit.Err(k.BackupInstance(t.Context(), "acme", io.Discard, recipient, nil)), "it is left out and counted")
	k.Store.OnGet(func(name string) error {
		if name == "key/"+id {
			return errors.New("connection reset")
		}
		return nil
	})
	require.ErrorIs(t, kit.Err(k.BackupInstance(t.Context(), "acme", io.Discard, recipient, nil)), kms.ErrUnavailable)
}

// TestBackupOfAnEndlessSource: lengths are looked at before anything is read.
func TestBackupOfAnEndlessSource(t *testing.T) {
	for _, start := range []string{"", "KEYHOLD\x01", "KEYHOLD\x01\xff\xff\xff\xff", "KEYHOLD\x02", "KEYHOLD\x01\x00\x00\x00\x02{}\xff\xff\xff\xff"} {
		_, err := kms.VerifyBackup(t.Context(), io.MultiReader(bytes.NewReader([]byte(start)), endless{}), kit.Root(t, 7))
		require.ErrorIs(t, err, kms.ErrBackup)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k := kmstest.New(t)
	backup := kit.Backup(t, k.Manager, kms.DefaultInstance, k.Root)
	_, err := kms.VerifyBackup(ctx, bytes.NewReader(backup), k.Root)
	require.ErrorIs(t, err, context.Canceled)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
