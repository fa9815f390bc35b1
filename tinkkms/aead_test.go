package tinkkms_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/tinkkms"
)

func only[T any](_ T, err error) error { return err }

// TestAEAD: by ID and by alias, with and without a context, the ciphertext is one of
// Manager.Encrypt.
func TestAEAD(t *testing.T) {
	t.Parallel()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	require.NoError(t, k.CreateAlias(t.Context(), "alias/a", id))
	byID, byAlias := tinkkms.AEAD(k.Manager, id), tinkkms.AEAD(k.Manager, "alias/a")
	for _, ad := range [][]byte{nil, {}, {0}, []byte("associated data")} {
		c, err := byID.Encrypt([]byte("x"), ad)
		require.NoError(t, err)
		plain, err := byAlias.DecryptWithContext(t.Context(), c, ad)
		require.NoError(t, err)
		require.Equal(t, "x", string(plain))

		c, err = byAlias.EncryptWithContext(t.Context(), []byte("x"), ad)
		require.NoError(t, err)
		plain, err = byID.Decrypt(c, ad)
		require.NoError(t, err)
		require.Equal(t, "x", string(plain))

		var ec kms.EncryptionContext
		if len(ad) > 0 {
			ec = kms.EncryptionContext{tinkkms.ContextKey: hex.EncodeToString(ad)}
		}
		plain, err = k.Decrypt(t.Context(), c, ec)
		require.NoError(t, err)
		require.Equal(t, "x", string(plain))
		require.ErrorIs(t, only(byID.Decrypt(c, []byte("other"))), kms.ErrCiphertext)
	}
	_, err := k.RotateKey(t.Context(), id)
	require.NoError(t, err)
	old, err := k.Encrypt(t.Context(), id, []byte("x"), nil)
	require.NoError(t, err)
	require.NoError(t, only(k.RotateKey(t.Context(), id)))
	require.NoError(t, only(byAlias.Decrypt(old, nil)), "of an older version")
}

// TestAEADOfOneKey: what another key encrypted is refused, though the Manager opens it; an
// alias follows its key.
func TestAEADOfOneKey(t *testing.T) {
	t.Parallel()
	k := kmstest.New(t)
	first, second := k.MustCreateKey(t).ID, k.MustCreateKey(t).ID
	require.NoError(t, k.CreateAlias(t.Context(), "alias/a", first))
	c, err := tinkkms.AEAD(k.Manager, second).Encrypt([]byte("x"), nil)
	require.NoError(t, err)
	require.NoError(t, only(k.Decrypt(t.Context(), c, nil)))
	for _, ref := range []string{first, "alias/a"} {
		err := only(tinkkms.AEAD(k.Manager, ref).Decrypt(c, nil))
		require.ErrorIs(t, err, kms.ErrCiphertext)
		require.Equal(t, "InvalidCiphertext", kms.Code(err))
	}
	require.NoError(t, k.UpdateAlias(t.Context(), "alias/a", second))
	require.NoError(t, only(tinkkms.AEAD(k.Manager, "alias/a").Decrypt(c, nil)))
	for _, bad := range [][]byte{nil, {}, {1}, c[:22], append(bytes.Clone(c), 0), make([]byte, 9000)} {
		require.ErrorIs(t, only(tinkkms.AEAD(k.Manager, second).Decrypt(bad, nil)), kms.ErrCiphertext)
	}
}

// TestAEADRefusals: each comes as the Manager's own.
func TestAEADRefusals(t *testing.T) {
	t.Parallel()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	a := tinkkms.AEAD(k.Manager, id)
	c, err := a.Encrypt(make([]byte, kms.MaxPlaintext), make([]byte, tinkkms.MaxAssociatedData))
	require.NoError(t, err)
	require.NoError(t, only(a.Decrypt(c, make([]byte, tinkkms.MaxAssociatedData))))
	require.ErrorIs(t, only(a.Encrypt(make([]byte, kms.MaxPlaintext+1), nil)), kms.ErrInvalid)
	require.ErrorIs(t, only(a.Encrypt(nil, make([]byte, tinkkms.MaxAssociatedData+1))), kms.ErrInvalid)
	require.ErrorIs(t, only(a.Decrypt(c, make([]byte, tinkkms.MaxAssociatedData+1))), kms.ErrInvalid)

	for ref, want := range map[string]error{"": kms.ErrInvalid, "x": kms.ErrInvalid, "alias/": kms.ErrInvalid, "alias/none": kms.ErrNotFound,
		"01890000-0000-7000-8000-000000000000": kms.ErrNotFound} {
		require.ErrorIs(t, only(tinkkms.AEAD(k.Manager, ref).Encrypt(nil, nil)), want, ref)
		require.ErrorIs(t, only(tinkkms.AEAD(k.Manager, ref).Decrypt(c, nil)), want, ref)
	}
	require.NoError(t, only(k.DisableKey(t.Context(), id)))
	require.ErrorIs(t, only(a.Encrypt(nil, nil)), kms.ErrDisabled)
	require.ErrorIs(t, only(a.Decrypt(c, nil)), kms.ErrDisabled)
	var state *kms.StateError
	require.ErrorAs(t, only(a.Decrypt(c, nil)), &state)
	require.Equal(t, id, state.KeyID)
}

// TestAEADPolicy: the context and the caller's Go context reach Authorize, and Observe is told
// of the attempt on another key's ciphertext.
func TestAEADPolicy(t *testing.T) {
	t.Parallel()
	type caller struct{}
	no := errors.New("no")
	var events []kms.Event
	k := kmstest.New(t, func(c *kms.Config) {
		c.Authorize = func(ctx context.Context, r kms.Request) error {
			if r.Op == kms.OpEncrypt && (ctx.Value(caller{}) != "me" || r.EncryptionContext[tinkkms.ContextKey] != "6164") {
				return no
			}
			return nil
		}
		c.Observe = func(_ context.Context, e kms.Event) { events = append(events, e) }
	})
	first, second := k.MustCreateKey(t).ID, k.MustCreateKey(t).ID
	a := tinkkms.AEAD(k.Manager, first)
	mine := context.WithValue(t.Context(), caller{}, "me")
	c, err := a.EncryptWithContext(mine, nil, []byte("ad"))
	require.NoError(t, err)
	err = only(a.EncryptWithContext(mine, nil, nil))
	require.ErrorIs(t, err, kms.ErrDenied)
	require.ErrorIs(t, err, no)
	require.ErrorIs(t, only(a.Encrypt(nil, []byte("ad"))), kms.ErrDenied)

	events = nil
	require.ErrorIs(t, only(tinkkms.AEAD(k.Manager, second).Decrypt(c, []byte("ad"))), kms.ErrCiphertext)
	last := events[len(events)-1]
	require.Equal(t, kms.OpDecrypt, last.Op)
	require.ErrorIs(t, last.Err, kms.ErrCiphertext)
}

// TestAssociatedDataIsInjective: no two associated data open each other's ciphertexts; nil and
// empty are the same.
func TestAssociatedDataIsInjective(t *testing.T) {
	t.Parallel()
	k := kmstest.New(t)
	a := tinkkms.AEAD(k.Manager, k.MustCreateKey(t).ID)
	all := [][]byte{nil, {0}, {0, 0}, []byte("a"), []byte("A"), []byte("61"), []byte("\x61\x00"), {0xff}, {0xc3, 0xbf}, {0xef, 0xbf, 0xbd}, {0xfe}}
	r := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		ad := make([]byte, 1+r.IntN(6))
		for i := range ad {
			ad[i] = byte(r.Uint32())
		}
		all = append(all, ad, ad[:len(ad)-1])
	}
	for _, one := range all {
		c, err := a.Encrypt([]byte("x"), one)
		require.NoError(t, err)
		for _, other := range all {
			err := only(a.Decrypt(c, other))
			require.Equal(t, bytes.Equal(one, other), err == nil, "%x opened with %x", one, other)
		}
	}
}
