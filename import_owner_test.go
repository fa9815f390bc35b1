package kms_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/internal/xaes"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestOwnerAfterDeletion plays the owner of imported material, with this source code, every
// byte of the store as it is after the purge, the root, and the material: none of it opens
// a ciphertext of the deleted key. While the key lived the same attack opens it, so that it
// is known to be one.
func TestOwnerAfterDeletion(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id, wrapped, token := kit.ImportedKey(t, k, kit.Material())
	c, err := k.Encrypt(ctx, id, []byte("secret"), nil)
	require.NoError(t, err)
	living, err := kms.ShredSecret(ctx, k.Manager, id)
	require.NoError(t, err)
	plain, ok := openAsOwner(t, c, kit.Material(), living)
	require.True(t, ok, "the attack does not work where it should")
	require.Equal(t, "secret", string(plain))

	require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
	k.Clock.AdvanceDays(7)
	require.Equal(t, []string{id}, kit.Maintain(t, k).Purged)

	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrNotFound)
	require.ErrorIs(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})), kms.ErrNotFound)
	tombstone := string(kit.StoredValue(t, k, "key/"+id))
	for _, gone := range []string{"shred", "fingerprint", "sealed"} {
		require.NotContains(t, tombstone, gone)
	}
	// The owner imports the material into a new key and tries that.
	again, _, _ := kit.ImportedKey(t, k, kit.Material())
	theirs, err := k.Encrypt(ctx, again, nil, nil)
	require.NoError(t, err)
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, append(bytes.Clone(theirs[:23]), c[23:]...), nil)), kms.ErrCiphertext)
	// The owner derives by hand, with whatever 32 bytes the store still shows.
	shreds := [][]byte{make([]byte, 32), nil, kit.Material()}
	fresh, err := kms.ShredSecret(ctx, k.Manager, again)
	require.NoError(t, err)
	shreds = append(shreds, fresh)
	for item, err := range k.Store.List(ctx, "", "") {
		require.NoError(t, err)
		for at := 0; at+32 <= len(item.Value); at++ {
			shreds = append(shreds, item.Value[at:at+32])
		}
	}
	for _, shred := range shreds {
		_, ok := openAsOwner(t, c, kit.Material(), shred)
		require.False(t, ok)
	}
}

// openAsOwner opens a ciphertext by the documented formats alone.
func openAsOwner(t *testing.T, c, material, shred []byte) ([]byte, bool) {
	info, err := kms.Inspect(c)
	require.NoError(t, err)
	id, err := hex.DecodeString(strings.ReplaceAll(info.KeyID, "-", ""))
	require.NoError(t, err)
	var label []byte
	for _, part := range [][]byte{[]byte("keyhold imported key v1"), id, {0, 0, 0, 1}} {
		label = append(binary.BigEndian.AppendUint32(label, uint32(len(part))), part...)
	}
	working, err := hkdf.Key(sha256.New, material, shred, string(label), 32)
	require.NoError(t, err)
	key, err := xaes.New(working)
	require.NoError(t, err)
	padded, err := key.Open(nil, c[23:], c[:23])
	if err != nil {
		return nil, false
	}
	return padded[32:], true
}

// TestShredForeign: what is none of the service's is told, and keeps nothing else.
func TestShredForeign(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id, c := kit.UsedKey(t, k)
	bad, _ := kit.UsedKey(t, k)
	kit.EditItem(t, k, "key/"+bad, func(v []byte) []byte { return v[:50] })
	kit.PutItem(t, k, "alias/noise", []byte("noise"))
	shredded, err := k.Shred(ctx, kms.DefaultInstance)
	require.Equal(t, []string{"ErrTampered"}, kit.Conditions(err))
	require.Contains(t, err.Error(), bad)
	require.Contains(t, err.Error(), "alias/noise")
	require.False(t, shredded.Shredding)
	require.NoError(t, kit.Err(k.Decrypt(ctx, c, nil)))
	require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
}
