package kms_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

var contexts = map[string]kms.EncryptionContext{
	"none": nil, "one": {"tenant": "7"}, "many": {"a": "b", "c": "d", "e": "", "f": "ä"},
}

// TestRoundTrip: what was encrypted comes back, whatever its length and context, and the
// inputs are as they were.
func TestRoundTrip(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	for name, ec := range contexts {
		for _, n := range []int{0, 1, 15, 16, 17, 32, 1000, 6143, 6144} {
			t.Run(fmt.Sprint(name, "/", n), func(t *testing.T) {
				plain := bytes.Repeat([]byte{7}, n)
				c, err := k.Encrypt(ctx, id, plain, ec)
				require.NoError(t, err)
				require.Equal(t, bytes.Repeat([]byte{7}, n), plain)
				require.LessOrEqual(t, len(c), kms.MaxCiphertext)
				kept := bytes.Clone(c)
				got, err := k.Decrypt(ctx, c, ec)
				require.NoError(t, err)
				require.Equal(t, string(plain), string(got))
				require.Equal(t, kept, c)
				info, err := kms.Inspect(c)
				require.NoError(t, err)
				require.Equal(t, kms.CiphertextInfo{KeyID: id, KeyVersion: 1, Protection: kms.ProtectionSoftware}, info)
			})
		}
	}
}

// TestCiphertextIsBound: every flipped bit, every cut, every other context and every other
// key or store is refused, and the cryptographic failures are one error.
func TestCiphertextIsBound(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	ec := kms.EncryptionContext{"tenant": "7", "table": "invoices"}
	c, err := k.Encrypt(ctx, id, []byte("x"), ec)
	require.NoError(t, err)
	refusedAs := map[string]int{}
	for bit := range len(c) * 8 {
		bad := bytes.Clone(c)
		bad[bit/8] ^= 1 << (bit % 8)
		_, err := k.Decrypt(ctx, bad, ec)
		require.Error(t, err, "bit %d", bit)
		refusedAs[kit.Conditions(err)[0]]++
	}
	require.Equal(t, map[string]int{"ErrNotFound": 128, "ErrCiphertext": len(c)*8 - 128}, refusedAs, "the 16 bytes of the key ID name another key")
	for n := range c {
		require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c[:n], ec)), kms.ErrCiphertext)
	}
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, append(bytes.Clone(c), 0), ec)), kms.ErrCiphertext)
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, make([]byte, 1<<20), ec)), kms.ErrCiphertext)
	for _, other := range []kms.EncryptionContext{nil, {}, {"tenant": "7"}, {"tenant": "7", "table": "invoice", "s": ""},
		{"tenant": "invoices", "table": "7"}, {"tenant": "7", "table": "invoices "}, {"tenant\x00": "7", "table": "invoices"}} {
		require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, other)), kms.ErrCiphertext)
	}
	require.ErrorIs(t, kit.Err(kmstest.New(t).Decrypt(ctx, c, ec)), kms.ErrNotFound)

	other := k.MustCreateKey(t).ID
	theirs, err := k.Encrypt(ctx, other, []byte("y"), ec)
	require.NoError(t, err)
	moved := append(bytes.Clone(theirs[:23]), c[23:]...)
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, moved, ec)), kms.ErrCiphertext)
}

// TestDataKeys: sizes, that the plain key is what Decrypt gives back, that no two are alike,
// and that a wiped one is wiped everywhere.
func TestDataKeys(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	seen := map[string]bool{}
	for _, n := range []int{1, 16, 31, 32, 33, 1024} {
		dataKey, err := k.GenerateDataKeyN(ctx, id, n, nil)
		require.NoError(t, err)
		require.Len(t, dataKey.Plaintext(), n)
		require.Equal(t, id, dataKey.KeyID)
		require.Equal(t, 1, dataKey.KeyVersion)
		plain, err := k.Decrypt(ctx, dataKey.Ciphertext, nil)
		require.NoError(t, err)
		require.Equal(t, plain, dataKey.Plaintext())

		sealed, err := k.GenerateDataKeyWithoutPlaintext(ctx, id, n, nil)
		require.NoError(t, err)
		require.Nil(t, sealed.Plaintext())
		plain, err = k.Decrypt(ctx, sealed.Ciphertext, nil)
		require.NoError(t, err)
		require.Len(t, plain, n)
	}
	for range 1000 {
		dataKey, err := k.GenerateDataKey(ctx, id, nil)
		require.NoError(t, err)
		require.False(t, seen[string(dataKey.Plaintext())])
		seen[string(dataKey.Plaintext())] = true
	}
	for _, n := range []int{-1, 0, 1025, 1 << 40} {
		require.ErrorIs(t, kit.Err(k.GenerateDataKeyN(ctx, id, n, nil)), kms.ErrInvalid)
		require.ErrorIs(t, kit.Err(k.GenerateDataKeyWithoutPlaintext(ctx, id, n, nil)), kms.ErrInvalid)
	}
	dataKey, err := k.GenerateDataKey(ctx, id, nil)
	require.NoError(t, err)
	again := dataKey
	handedOut := dataKey.Plaintext()
	dataKey.Wipe()
	require.Nil(t, again.Plaintext())
	require.Equal(t, make([]byte, 32), handedOut)
	kms.DataKey{}.Wipe()
}

// TestWipedDataKey: after Wipe no copy of a data key gives bytes, whoever asks meanwhile.
func TestWipedDataKey(t *testing.T) {
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	for range 100 {
		dataKey, err := k.GenerateDataKey(t.Context(), id, nil)
		require.NoError(t, err)
		var all sync.WaitGroup
		for range 4 {
			again := dataKey
			all.Go(func() {
				if key := again.Plaintext(); key != nil && len(key) != kms.DataKeySize {
					t.Error("a part of the key")
				}
				again.Wipe()
				if again.Plaintext() != nil {
					t.Error("there are bytes after Wipe")
				}
			})
		}
		all.Wait()
		require.Nil(t, dataKey.Plaintext())
		require.NoError(t, kit.Err(k.Decrypt(t.Context(), dataKey.Ciphertext, nil)))
	}
}

// TestContextBounds: 64 pairs and 8192 bytes, for whatever takes a context.
func TestContextBounds(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	c, err := k.Encrypt(ctx, id, nil, nil)
	require.NoError(t, err)
	most := kms.EncryptionContext{}
	for i := range 64 {
		most[fmt.Sprintf("%02d", i)] = strings.Repeat("v", 126)
	}
	full, err := k.Encrypt(ctx, id, nil, most)
	require.NoError(t, err)
	require.NoError(t, kit.Err(k.Decrypt(ctx, full, most)))
	tooMany := kms.EncryptionContext{"x": ""}
	for key := range most {
		tooMany[key] = ""
	}
	for _, bad := range []kms.EncryptionContext{tooMany, {"k": strings.Repeat("v", 8192)}, {"": "v"}} {
		require.ErrorIs(t, kit.Err(k.Encrypt(ctx, id, nil, bad)), kms.ErrInvalid)
		require.ErrorIs(t, kit.Err(k.GenerateDataKey(ctx, id, bad)), kms.ErrInvalid)
		require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, bad)), kms.ErrInvalid)
		require.ErrorIs(t, kit.Err(k.ReEncrypt(ctx, c, bad, id, nil)), kms.ErrInvalid)
		require.ErrorIs(t, kit.Err(k.ReEncrypt(ctx, c, nil, id, bad)), kms.ErrInvalid)
	}
}

// TestReEncrypt moves a ciphertext to another key and context; the old one goes on.
func TestReEncrypt(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	from, to := k.MustCreateKey(t).ID, k.MustCreateKey(t).ID
	old, err := k.Encrypt(ctx, from, []byte("x"), contexts["one"])
	require.NoError(t, err)
	moved, err := k.ReEncrypt(ctx, old, contexts["one"], to, contexts["many"])
	require.NoError(t, err)
	info, err := kms.Inspect(moved)
	require.NoError(t, err)
	require.Equal(t, to, info.KeyID)
	plain, err := k.Decrypt(ctx, moved, contexts["many"])
	require.NoError(t, err)
	require.Equal(t, "x", string(plain))
	require.NoError(t, kit.Err(k.Decrypt(ctx, old, contexts["one"])))
	require.ErrorIs(t, kit.Err(k.ReEncrypt(ctx, old, nil, to, nil)), kms.ErrCiphertext)
	require.ErrorIs(t, kit.Err(k.ReEncrypt(ctx, old, contexts["one"], "alias/nobody", nil)), kms.ErrNotFound)
}

// TestManyGoroutines uses, changes and lists keys from many goroutines over two Managers.
func TestManyGoroutines(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, func(c *kms.Config) { c.CacheKeys = 4 })
	managers := []*kms.Manager{k.Manager, k.Another(t)}
	var ids []string
	for range 12 {
		ids = append(ids, k.MustCreateKey(t).ID)
	}
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			m := managers[g%2]
			for i := range 100 {
				id := ids[(g+i)%len(ids)]
				switch {
				case g == 0 && i%10 == 0:
					if _, err := m.SetDescription(ctx, id, fmt.Sprint(i)); err != nil {
						t.Error(err)
					}
				case g == 1 && i%10 == 0:
					for _, err := range m.Keys(ctx, nil) {
						if err != nil {
							t.Error(err)
						}
					}
				}
				c, err := m.Encrypt(ctx, id, []byte(id), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if plain, err := managers[(g+1)%2].Decrypt(ctx, c, nil); err != nil || string(plain) != id {
					t.Errorf("%q, %v", plain, err)
				}
			}
		})
	}
	all.Wait()
}

// TestKeyOfUnknownProtection: a key whose provider this Manager does not have is refused,
// typed, and the others go on.
func TestKeyOfUnknownProtection(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	c, err := k.Encrypt(ctx, id, nil, nil)
	require.NoError(t, err)
	m := k.Another(t, func(c *kms.Config) { c.Software, c.HSM = nil, c.Software })
	require.ErrorIs(t, kit.Err(m.Decrypt(ctx, c, nil)), kms.ErrUnsupported)
	inHardware, err := m.CreateKey(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, kms.ProtectionHSM, inHardware.Protection)
	c2, err := m.Encrypt(ctx, inHardware.ID, []byte("x"), nil)
	require.NoError(t, err)
	info, err := kms.Inspect(c2)
	require.NoError(t, err)
	require.Equal(t, kms.ProtectionHSM, info.Protection)
	require.NoError(t, kit.Err(m.Decrypt(ctx, c2, nil)))
	c2[1] = 1 // the suite of the other level
	require.ErrorIs(t, kit.Err(m.Decrypt(ctx, c2, nil)), kms.ErrCiphertext)
}
