package kms_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/stretchr/testify/require"
)

// FuzzBackup: of all bytes only those are a backup that were made as one.
func FuzzBackup(f *testing.F) {
	vector := loadFrozenBackup(f)
	m, recipient := vector.open(f)
	f.Add(vector.Backup)
	header, _ := frames(f, vector.Backup)
	for _, n := range []int{0, 7, 8, 12, len(header), len(header) + 40, len(vector.Backup) - 1} {
		f.Add(vector.Backup[:n])
	}
	f.Add(append(bytes.Clone(vector.Backup), vector.Backup...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, append(bytes.Clone(b), fuzzCanary...)} {
			info, err := kms.VerifyBackup(t.Context(), bytes.NewReader(b), recipient)
			if bytes.Equal(b, vector.Backup) {
				require.NoError(t, err)
				require.Equal(t, vector.Info, info)
				continue
			}
			require.ErrorIs(t, err, kms.ErrBackup)
			require.Equal(t, kms.BackupInfo{}, info)
			noEcho(t, err)
			_, err = m.Restore(t.Context(), bytes.NewReader(b), recipient, nil)
			require.ErrorIs(t, err, kms.ErrBackup)
			noEcho(t, err)
		}
	})
}

// FuzzBackupFrames: whatever an earlier version or a bug wrote into frames that are authentic
// is restored, or is ErrBackup; nothing panics, and nothing of it is repeated in an error.
func FuzzBackupFrames(f *testing.F) {
	vector := loadFrozenBackup(f)
	_, recipient := vector.open(f)
	items, err := kms.BackupItems(vector.Backup, recipient)
	require.NoError(f, err)
	stream := func(items []kms.BackupItem) (b []byte) {
		for _, item := range items {
			b = binary.BigEndian.AppendUint32(append(b, item.Kind), uint32(len(item.Body)))
			b = append(b, item.Body...)
		}
		return b
	}
	f.Add(stream(items))
	for i := range items {
		f.Add(stream(items[:i]))
		f.Add(stream(append(items[:i:i], items[i+1:]...)))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		for _, stream := range [][]byte{stream, append(bytes.Clone(stream), fuzzCanary...)} {
			made, err := kms.SealBackup(vector.Backup, recipient, stream)
			require.NoError(t, err)
			_, err = kms.VerifyBackup(t.Context(), bytes.NewReader(made), recipient)
			m, _ := vector.open(t)
			_, restored := m.Restore(t.Context(), bytes.NewReader(made), recipient, nil)
			if err != nil {
				require.ErrorIs(t, err, kms.ErrBackup)
				require.ErrorIs(t, restored, kms.ErrBackup)
				noEcho(t, err)
				noEcho(t, restored)
				continue
			}
			require.NoError(t, restored)
			require.NoError(t, kit.Err(m.Maintain(t.Context())))
			for key, err := range m.Keys(t.Context(), nil) {
				require.NoError(t, err)
				_, _ = m.Encrypt(t.Context(), key.ID, nil, nil)
			}
		}
	})
}

// FuzzBackupRecord: a record in a backup that is authentic and says what no key can be is
// ErrBackup; one that is restored can be described, used or refused, changed and maintained.
func FuzzBackupRecord(f *testing.F) {
	vector := loadFrozenBackup(f)
	_, recipient := vector.open(f)
	for _, change := range []string{
		`{}`, `{"spec":"HMAC_256","usage":"GENERATE/VERIFY_MAC"}`, `{"versions":null}`, `{"versions":[]}`, `{"primary":0}`, `{"deleteAt":"0001-01-01T00:00:00Z"}`,
		`{"deleteAt":"9999-12-31T23:59:59Z"}`, `{"destroyedAt":"2026-01-01T00:00:00+23:59","versions":null}`, `{"brownShare":1000000,"brownUntil":"2999-01-01T00:00:00Z"}`,
		`{"seq":18446744073709551615}`, `{"origin":"EXTERNAL"}`, `{"protection":"HSM"}`, `{"owner":"SERVICE","service":"x"}`, `{"rotationDays":7}`,
	} {
		f.Add([]byte(change))
	}
	f.Fuzz(func(t *testing.T, change []byte) {
		made, err := kms.OddBackup(vector.Backup, recipient, change)
		if err != nil {
			t.Skip("no JSON of an object")
		}
		m, _ := vector.open(t)
		report, err := m.Restore(t.Context(), bytes.NewReader(made), recipient, nil)
		if err != nil {
			oneOf(t, err, kms.ErrBackup, kms.ErrInvalid)
			return
		}
		_, err = m.Restore(t.Context(), bytes.NewReader(made), recipient, nil)
		require.NoError(t, err)
		_, err = m.Maintain(t.Context())
		require.True(t, err == nil || kms.Code(err) != "", "%v", err)
		for id := range vector.Keys {
			for _, err := range []error{
				kit.Err(m.DescribeKey(t.Context(), id)), kit.Err(m.Encrypt(t.Context(), id, nil, nil)), kit.Err(m.DisableKey(t.Context(), id)),
				kit.Err(m.ScheduleKeyDeletion(t.Context(), id, 7)), kit.Err(m.CancelKeyDeletion(t.Context(), id)),
			} {
				require.True(t, err == nil || kms.Code(err) != "", "%v", err)
			}
		}
		require.Positive(t, report.Restored+len(report.Skipped)+report.Tombstones)
	})
}
