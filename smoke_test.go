package kms_test

import (
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

func TestSmoke(t *testing.T) {
	root, err := software.NewRoot([]byte("0123456789abcdef0123456789abcdef"))
	require.NoError(t, err)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var st keystore.Memory
	m, err := kms.Open(t.Context(), kms.Config{Store: &st, Root: root, Software: software.New(), Now: func() time.Time { return now }})
	require.NoError(t, err)
	k, err := m.CreateKey(t.Context(), nil)
	require.NoError(t, err)
	t.Logf("%+v", k)
	ec := kms.EncryptionContext{"a": "b"}
	dk, err := m.GenerateDataKey(t.Context(), k.ID, ec)
	require.NoError(t, err)
	pt, err := m.Decrypt(t.Context(), dk.Ciphertext, ec)
	require.NoError(t, err)
	require.Equal(t, dk.Plaintext(), pt)
	t.Logf("%+v %d", dk, len(dk.Ciphertext))
	_, err = m.ScheduleKeyDeletion(t.Context(), k.ID, 7)
	t.Log(err, kms.Code(err), kms.Hint(err))
	m.AddDependent(t.Context(), k.ID, kms.Dependent{Name: "x"})
	_, err = m.ScheduleKeyDeletion(t.Context(), k.ID, 7)
	t.Log(err, kms.Code(err), kms.Hint(err))
	ct, err := m.Encrypt(t.Context(), kms.DefaultKey, []byte("hello"), nil)
	require.NoError(t, err)
	pt, err = m.Decrypt(t.Context(), ct, nil)
	require.NoError(t, err)
	t.Log(string(pt))
	for k, err := range m.Keys(t.Context(), nil) {
		t.Log(k.ID, k.State, err)
	}
	t.Log(testing.AllocsPerRun(100, func() { m.GenerateDataKey(t.Context(), k.ID, nil) }))
	t.Log(testing.AllocsPerRun(100, func() { m.Decrypt(t.Context(), ct, nil) }))
}
