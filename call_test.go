package kms_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestEveryCallIsAuthorized: no method of a Manager does anything that Authorize refused, or
// forgets to tell Observe.
func TestEveryCallIsAuthorized(t *testing.T) {
	s := kit.NewSubject(t, kms.OriginExternal, kms.Enabled)
	var asked []kms.Request
	var told []kms.Event
	no := errors.New("no")
	m := s.Another(t, func(c *kms.Config) {
		c.Authorize = func(_ context.Context, r kms.Request) error { asked = append(asked, r); return no }
		c.Observe = func(_ context.Context, e kms.Event) { told = append(told, e) }
	})
	s.Store.OnPut(func(name string) (bool, error) { t.Errorf("put %s", name); return true, nil })
	var read []string
	s.Store.OnGet(func(name string) error { read = append(read, name); return nil })
	calls := kit.EveryCall(t.Context(), s, m)
	of := reflect.TypeFor[*kms.Manager]()
	require.Equal(t, of.NumMethod(), len(calls))
	for i := range of.NumMethod() {
		name := of.Method(i).Name
		call, ok := calls[name]
		require.True(t, ok, "%s is not in the list of calls", name)
		if call == nil {
			continue
		}
		asked, told, read = nil, nil, nil
		err := call()
		if name != "DeleteAlias" { // asks about the key that the alias names, if that is there
			require.NotContains(t, read, "key/"+s.ID, "%s read before it asked", name)
		}
		require.ErrorIs(t, err, kms.ErrDenied, name)
		require.ErrorIs(t, err, no, name)
		require.Len(t, asked, 1, name)
		require.Len(t, told, 1, name)
		require.Equal(t, asked[0].Op, told[0].Op, name)
		require.Equal(t, s.Clock.Now(), told[0].Time, name)
		require.ErrorIs(t, told[0].Err, kms.ErrDenied, name)
	}
}

// TestObserve: what is told of calls that were done, and that an alias is told as its key.
func TestObserve(t *testing.T) {
	ctx := t.Context()
	var told []kms.Event
	var asked []kms.Request
	k := kmstest.New(t, func(c *kms.Config) {
		c.Observe = func(_ context.Context, e kms.Event) { told = append(told, e) }
		c.Authorize = func(_ context.Context, r kms.Request) error { asked = append(asked, r); return nil }
	})
	id := k.MustCreateKey(t).ID
	require.NoError(t, k.CreateAlias(ctx, "alias/a", id))
	asked, told = nil, nil
	ec := kms.EncryptionContext{"a": "b"}
	c, err := k.Encrypt(ctx, "alias/a", nil, ec)
	require.NoError(t, err)
	require.NoError(t, kit.Err(k.ReEncrypt(ctx, c, ec, id, nil)))
	require.Error(t, kit.Err(k.Decrypt(ctx, c, nil)))
	now := k.Clock.Now()
	require.Equal(t, []kms.Request{
		{Op: kms.OpEncrypt, KeyID: id, Alias: "alias/a", EncryptionContext: ec},
		{Op: kms.OpReEncryptFrom, KeyID: id, EncryptionContext: ec},
		{Op: kms.OpReEncryptTo, KeyID: id},
		{Op: kms.OpDecrypt, KeyID: id},
	}, asked)
	require.Len(t, told, 4)
	require.ErrorIs(t, told[3].Err, kms.ErrCiphertext)
	told[3].Err = nil
	require.Equal(t, []kms.Event{
		{Time: now, Op: kms.OpEncrypt, KeyID: id, KeyVersion: 1},
		{Time: now, Op: kms.OpReEncryptFrom, KeyID: id, KeyVersion: 1},
		{Time: now, Op: kms.OpReEncryptTo, KeyID: id, KeyVersion: 1},
		{Time: now, Op: kms.OpDecrypt, KeyID: id, KeyVersion: 1},
	}, told)
}
