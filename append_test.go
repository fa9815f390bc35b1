package kms_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestAppend: what the calls with a buffer of the caller make is what the others make, behind
// what was in the buffer, and in the same memory where there is room.
func TestAppend(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	for _, ec := range []kms.EncryptionContext{nil, {"tenant": "7"}} {
		for _, n := range []int{0, 1, 32, 1024, kms.MaxPlaintext} {
			for _, spare := range []int{0, 1, n, n + kms.Room - 1, n + kms.Room, 2 * kms.MaxCiphertext} {
				plaintext := kit.Pattern(n)
				dst := append(make([]byte, 0, 6+spare), "prefix"...)
				sealed, err := k.AppendEncrypt(ctx, dst, id, plaintext, ec)
				require.NoError(t, err)
				require.Equal(t, "prefix", string(sealed[:6]))
				require.Equal(t, spare >= n+kms.Room, &sealed[0] == &dst[0])
				plain, err := k.Decrypt(ctx, sealed[6:], ec)
				require.NoError(t, err)
				require.True(t, bytes.Equal(plaintext, plain))

				ciphertext := bytes.Clone(sealed[6:])
				opened, err := k.AppendDecrypt(ctx, dst, ciphertext, ec)
				require.NoError(t, err)
				require.Equal(t, "prefix"+string(plaintext), string(opened))
				if spare >= len(ciphertext) {
					require.Same(t, &dst[0], &opened[0])
				}
				require.Equal(t, "prefix", string(dst))

				if n == 0 || n > kms.MaxDataKeySize {
					continue
				}
				key := make([]byte, n)
				sealed, err = k.AppendDataKey(ctx, dst, id, key, ec)
				require.NoError(t, err)
				require.Equal(t, "prefix", string(sealed[:6]))
				require.Equal(t, spare >= n+kms.Room, &sealed[0] == &dst[0])
				plain, err = k.Decrypt(ctx, sealed[6:], ec)
				require.NoError(t, err)
				require.True(t, bytes.Equal(key, plain))
				if n >= 32 {
					require.NotEqual(t, make([]byte, n), key)
				}
			}
		}
	}
}

// TestAppendOverlap: a buffer whose free space overlaps the input is refused, before anything is
// written. What only stands beside it is not.
func TestAppendOverlap(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	ciphertext, err := k.Encrypt(ctx, id, []byte("plaintext"), nil)
	require.NoError(t, err)
	n := len(ciphertext)
	for _, row := range []struct {
		dst, in [2]int // where in one buffer they begin, and where dst's capacity or the input ends
		refused bool
	}{
		{[2]int{0, 4 * n}, [2]int{0, n}, true},
		{[2]int{0, 4 * n}, [2]int{3 * n, 4 * n}, true},
		{[2]int{n, n + 1}, [2]int{n, 2 * n}, true},
		{[2]int{2*n - 1, 4 * n}, [2]int{n, 2 * n}, true},
		{[2]int{0, n + 1}, [2]int{n, 2 * n}, true},
		{[2]int{0, n}, [2]int{n, 2 * n}, false},
		{[2]int{2 * n, 4 * n}, [2]int{n, 2 * n}, false},
		{[2]int{n, n}, [2]int{n, 2 * n}, false},
	} {
		buf := make([]byte, 4*n)
		dst, in := buf[row.dst[0]:row.dst[0]:row.dst[1]], buf[row.in[0]:row.in[1]]
		for name, call := range map[string]func() error{
			"AppendEncrypt": func() error { return kit.Err(k.AppendEncrypt(ctx, dst, id, in, nil)) },
			"AppendDecrypt": func() error { copy(in, ciphertext); return kit.Err(k.AppendDecrypt(ctx, dst, in, nil)) },
			"AppendDataKey": func() error { return kit.Err(k.AppendDataKey(ctx, dst, id, in, nil)) },
		} {
			err := call()
			if row.refused {
				require.ErrorIs(t, err, kms.ErrInvalid, "%s %v", name, row)
			} else {
				require.NoError(t, err, "%s %v", name, row)
			}
		}
	}

	// What is in dst may be read: it is not written.
	buf := append(make([]byte, 0, 1024), "prefix"...)
	sealed, err := k.AppendEncrypt(ctx, buf, id, buf, nil)
	require.NoError(t, err)
	plain, err := k.Decrypt(ctx, sealed[6:], nil)
	require.NoError(t, err)
	require.Equal(t, "prefix", string(plain))
	require.ErrorIs(t, kit.Err(k.AppendDataKey(ctx, buf, id, buf, nil)), kms.ErrInvalid)
	require.Equal(t, "prefix", string(buf))
	require.NoError(t, kit.Err(k.AppendEncrypt(ctx, buf, id, nil, nil)))
}

// TestAppendRefused: a call that fails returns nil and leaves what was in the buffer, and
// nothing secret behind it.
func TestAppendRefused(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	secret := bytes.Repeat([]byte("secret! "), 8)
	ciphertext, err := k.Encrypt(ctx, id, secret, nil)
	require.NoError(t, err)
	denied := k.Another(t, func(c *kms.Config) {
		c.Authorize = func(context.Context, kms.Request) error { return errors.New("no") }
	})
	for name, m := range map[string]*kms.Manager{"denied": denied, "damaged": k.Manager} {
		buf := append(make([]byte, 0, 1024), "prefix"...)
		damaged := bytes.Clone(ciphertext)
		damaged[len(damaged)-1] ^= 1
		out, err := m.AppendDecrypt(ctx, buf, damaged, nil)
		require.Error(t, err, name)
		require.Nil(t, out)
		require.Equal(t, "prefix", string(buf))
		require.NotContains(t, string(buf[:cap(buf)]), "secret!")
	}
	buf := append(make([]byte, 0, 1024), "prefix"...)
	key := bytes.Clone(secret)
	out, err := denied.AppendDataKey(ctx, buf, id, key, nil)
	require.ErrorIs(t, err, kms.ErrDenied)
	require.Nil(t, out)
	require.Equal(t, make([]byte, len(key)), key)
	out, err = denied.AppendEncrypt(ctx, buf, id, secret, nil)
	require.ErrorIs(t, err, kms.ErrDenied)
	require.Nil(t, out)
	require.Equal(t, "prefix", string(buf))
	require.NotContains(t, string(buf[:cap(buf)]), "secret!")
	for _, n := range []int{0, kms.MaxDataKeySize + 1} {
		require.ErrorIs(t, kit.Err(k.AppendDataKey(ctx, nil, id, make([]byte, n), nil)), kms.ErrInvalid)
	}
	require.ErrorIs(t, kit.Err(k.AppendEncrypt(ctx, nil, id, make([]byte, kms.MaxPlaintext+1), nil)), kms.ErrInvalid)
}

// TestAppendAllocates: nothing, with and without an encryption context, once the buffers have
// grown; and the other calls no more than their results take.
func TestAppendAllocates(t *testing.T) {
	ctx := context.Background()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	var sealed, opened []byte
	for _, n := range []int{32, 1024, 4096} {
		for _, ec := range []kms.EncryptionContext{nil, {"tenant": "7", "table": "invoices"}} {
			plaintext, key := make([]byte, n), make([]byte, min(n, kms.MaxDataKeySize))
			ciphertext, err := k.Encrypt(ctx, id, plaintext, ec)
			require.NoError(t, err)
			for name, row := range map[string]struct {
				most float64
				call func() (err error)
			}{
				"AppendEncrypt":   {0, func() (err error) { sealed, err = k.AppendEncrypt(ctx, sealed[:0], id, plaintext, ec); return }},
				"AppendDecrypt":   {0, func() (err error) { opened, err = k.AppendDecrypt(ctx, opened[:0], ciphertext, ec); return }},
				"AppendDataKey":   {0, func() (err error) { sealed, err = k.AppendDataKey(ctx, sealed[:0], id, key, ec); return }},
				"Encrypt":         {1, func() error { return kit.Err(k.Encrypt(ctx, id, plaintext, ec)) }},
				"Decrypt":         {1, func() error { return kit.Err(k.Decrypt(ctx, ciphertext, ec)) }},
				"GenerateDataKey": {4, func() error { return kit.Err(k.GenerateDataKey(ctx, id, ec)) }},
			} {
				require.NoError(t, row.call(), name)
				allocs := testing.AllocsPerRun(500, func() {
					if row.call() != nil {
						panic(name)
					}
				})
				if !raceDetector {
					require.LessOrEqual(t, allocs, row.most, "%s of %d bytes, context %v", name, n, ec)
				} else {
					require.LessOrEqual(t, allocs, row.most+4, "%s of %d bytes, context %v", name, n, ec)
				}
			}
		}
	}
}
