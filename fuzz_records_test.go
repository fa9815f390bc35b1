package kms_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
	"github.com/stretchr/testify/require"
)

// replace puts a value in the place of an item, whatever its version.
func replace(t *testing.T, s keystore.Store, name string, value []byte) {
	item, err := s.Get(t.Context(), name)
	require.NoError(t, err)
	_, err = s.Put(t.Context(), name, item.Version, value)
	require.NoError(t, err)
}

// split gives the ciphertexts that open: those under a key, and the others.
func (f *frozen) split(id string) (mine, others []frozenText) {
	for _, v := range f.Ciphertexts {
		switch info, err := kms.Inspect(v.Ciphertext); {
		case err != nil || v.Code != "":
		case info.KeyID == id:
			mine = append(mine, v)
		default:
			others = append(others, v)
		}
	}
	return mine, others
}

// FuzzRecord: whatever somebody puts in the place of a key's record, other than that very
// record, is ErrTampered for that key, and for no other.
func FuzzRecord(f *testing.F) {
	vectors := loadFrozen(f)
	m, s := vectors.open(f)
	id := enabledKey(f, vectors)
	record := vectors.Store["key/"+id]
	for _, value := range vectors.Store {
		f.Add(value)
		f.Add(value[:len(value)/2])
	}
	body := record[len("\x01\x07default")+32:]
	f.Add(body)
	f.Add(append(record[:9:9], body...))
	_, others := vectors.split(id)
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) > keystore.MaxValue/2 {
			t.Skip("longer than a store takes")
		}
		for _, value := range [][]byte{value, append(bytes.Clone(value), fuzzCanary...)} {
			if bytes.Equal(value, record) { // this Manager may know a later one
				m, s = vectors.open(t)
			}
			replace(t, s, "key/"+id, value)
			for _, err := range []error{
				kit.Err(m.DescribeKey(t.Context(), id)), kit.Err(m.Encrypt(t.Context(), id, nil, nil)),
				kit.Err(m.SetTags(t.Context(), id, nil)), kit.Err(m.DisableKey(t.Context(), id)),
			} {
				if bytes.Equal(value, record) {
					require.NoError(t, err)
					continue
				}
				require.ErrorIs(t, err, kms.ErrTampered)
				noEcho(t, err)
			}
			other := others[len(value)%len(others)]
			plain, err := m.Decrypt(t.Context(), other.Ciphertext, other.Context)
			require.NoError(t, err)
			require.True(t, bytes.Equal(other.Plaintext, plain))
		}
	})
}

// FuzzRecordJSON: behind a MAC that is right may be a record of an older version, or one
// that a bug wrote. It is read and written to the same bytes for ever after, or is
// sealing.ErrItem; and no use of it panics.
func FuzzRecordJSON(f *testing.F) {
	vectors := loadFrozen(f)
	id := enabledKey(f, vectors)
	mine, _ := vectors.split(id)
	for name, value := range vectors.Store {
		if bytes.HasPrefix(value, []byte("\x01\x07default")) {
			body := string(value[9+32:])
			f.Add([]byte(body))
			f.Add([]byte(strings.Replace(body, strings.TrimPrefix(name, "key/"), id, 1)))
		}
	}
	for _, rest := range []string{
		`}`, `,"primary":1}`, `,"versions":[{}],"primary":0}`, `,"versions":[{"version":1,"sealed":"AAAA"}],"primary":1}`,
		`,"versions":[{"version":1},{"version":1}],"primary":1}`, `,"deleteAt":"0001-01-01T00:00:00Z"}`, `,"deleteAt":"9999-12-31T23:59:59Z"}`,
		`,"protection":"HSM","versions":[{"version":1}],"primary":1}`, `,"tags":null,"dependents":[{}]}`, `,"unknown":1}`, `} `, `}{}`,
		`,"destroyedAt":"2026-01-01T00:00:00+23:59","versions":[{"version":4294967295,"sealed":""}]}`, `,"seq":18446744073709551615}`,
	} {
		f.Add([]byte(`{"id":"` + id + `"` + rest))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, s := vectors.open(t)
		value := kms.Authenticate(m, "key/"+id, body)
		once, err := kms.RewriteRecord(m, id, value)
		if err != nil {
			require.True(t, errors.Is(err, sealing.ErrItem), "%v", err)
		} else {
			twice, err := kms.RewriteRecord(m, id, once)
			require.NoError(t, err)
			require.True(t, bytes.Equal(once, twice), "%s\n%s", once, twice)
		}
		if len(value) > keystore.MaxValue {
			t.Skip("longer than a store takes")
		}
		replace(t, s, "key/"+id, value)
		_, err = m.DescribeKey(t.Context(), id)
		require.True(t, err == nil || kms.Code(err) != "", "%v", err)
		for _, v := range mine {
			_, _ = m.Decrypt(t.Context(), v.Ciphertext, v.Context)
		}
		for _, err := range []error{
			kit.Err(m.Encrypt(t.Context(), id, nil, nil)), kit.Err(m.DisableKey(t.Context(), id)), kit.Err(m.Maintain(t.Context())),
			kit.Err(m.EnableKey(t.Context(), id)), kit.Err(m.ScheduleKeyDeletion(t.Context(), id, 7)), kit.Err(m.CancelKeyDeletion(t.Context(), id)),
		} {
			require.True(t, err == nil || kms.Code(err) != "", "%v", err)
		}
		broken := append([]byte(`{"id":"`+fuzzCanary+`","`+fuzzCanary+`":`), body...)
		replace(t, s, "key/"+id, kms.Authenticate(m, "key/"+id, broken))
		err = kit.Err(m.DescribeKey(t.Context(), id))
		require.ErrorIs(t, err, kms.ErrTampered)
		noEcho(t, err)
	})
}

// FuzzInstance: whatever somebody puts in the place of the instance's record, other than
// that very record, Open refuses.
func FuzzInstance(f *testing.F) {
	vectors := loadFrozen(f)
	record := vectors.Store["instance/default"]
	body := string(record[9+32:])
	for _, value := range vectors.Store {
		f.Add(value)
	}
	f.Add(record[:9+32])
	f.Add(append(record[:9+32:9+32], strings.Replace(body, `"seq":1`, `"seq":2`, 1)...))
	f.Add(append(record[:9+32:9+32], strings.Replace(body, `"key":"`, `"key":"AA`, 1)...))
	f.Add(append(record[:9+32:9+32], `{"id":"default","store":"AAAAAAAAAAAAAAAAAAAAAA==","seals":[{"root":0,"key":""}]}`...))
	f.Add(append(record[:9+32:9+32], `{"id":"default","store":"AAAAAAAAAAAAAAAAAAAAAA==","seals":null,"created":"x"}`...))
	s := vectors.memory(f)
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) > keystore.MaxValue/2 {
			t.Skip("longer than a store takes")
		}
		for _, value := range [][]byte{value, append(bytes.Clone(value), fuzzCanary...)} {
			replace(t, s, "instance/default", value)
			m, err := kms.Open(t.Context(), vectors.config(t, s))
			if bytes.Equal(value, record) {
				require.NoError(t, err)
				continue
			}
			require.Nil(t, m)
			oneOf(t, err, kms.ErrTampered, kms.ErrRoot)
			noEcho(t, err)
		}
	})
}

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
