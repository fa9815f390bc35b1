package kms_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestAliasNames: what may be an alias, and what may not be made by callers.
func TestAliasNames(t *testing.T) {
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	for name, ok := range map[string]bool{
		"alias/a": true, "alias/Invoices-2026_q1/eu": true, "alias/" + strings.Repeat("x", 249): true,
		"alias/a/acs/b": true, "alias/ac": true,
		"": false, "alias": false, "alias/": false, "a": false, "Alias/a": false, "alias/" + strings.Repeat("x", 250): false,
		"alias/a b": false, "alias/ä": false, "alias/a.b": false, "alias/a\n": false, "alias/a\x00": false,
		"alias/acs/oss": false, "alias/acs": false, "alias/acsx": false, "key/" + id: false, id: false,
	} {
		err := k.CreateAlias(t.Context(), name, id)
		require.Equal(t, ok, err == nil, "%q: %v", name, err)
		if !ok {
			require.ErrorIs(t, err, kms.ErrInvalid)
		}
	}
}

// TestAliasLife: made, used, pointed elsewhere, deleted, made again; listed as they are.
func TestAliasLife(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	first, second := k.MustCreateKey(t).ID, k.MustCreateKey(t).ID
	require.NoError(t, k.CreateAlias(ctx, "alias/a", first))
	require.NoError(t, k.CreateAlias(ctx, "alias/b", "alias/a"))
	require.Equal(t, []kms.Alias{{Name: "alias/a", KeyID: first}, {Name: "alias/b", KeyID: first}}, aliases(t, k, first))
	require.NoError(t, k.UpdateAlias(ctx, "alias/b", second))
	require.Equal(t, []kms.Alias{{Name: "alias/b", KeyID: second}}, aliases(t, k, "alias/b"))
	require.ErrorIs(t, k.CreateAlias(ctx, "alias/b", first), kms.ErrExists)
	require.NoError(t, k.DeleteAlias(ctx, "alias/b"))
	require.ErrorIs(t, k.DeleteAlias(ctx, "alias/b"), kms.ErrNotFound)
	require.ErrorIs(t, k.UpdateAlias(ctx, "alias/b", first), kms.ErrNotFound)
	require.ErrorIs(t, k.UpdateAlias(ctx, "alias/never", first), kms.ErrNotFound)
	require.NoError(t, k.CreateAlias(ctx, "alias/b", second))
	require.Len(t, aliases(t, k, ""), 2)
	for range k.Aliases(ctx, "") {
		break
	}
}

// TestAliasGoesWithItsKey: at the deletion date an alias is free, with nothing having run.
func TestAliasGoesWithItsKey(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := kit.DisabledKey(t, k)
	require.NoError(t, k.CreateAlias(ctx, "alias/a", id))
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, "alias/a", 7)))
	next := k.MustCreateKey(t).ID
	require.ErrorIs(t, k.CreateAlias(ctx, "alias/a", next), kms.ErrExists, "the key may yet come back")
	k.Clock.AdvanceDays(7)
	require.Empty(t, aliases(t, k, ""))
	require.ErrorIs(t, kit.Err(k.DescribeKey(ctx, "alias/a")), kms.ErrNotFound)
	require.ErrorIs(t, k.DeleteAlias(ctx, "alias/a"), kms.ErrNotFound)
	require.NoError(t, k.CreateAlias(ctx, "alias/a", next))
	key, err := k.DescribeKey(ctx, "alias/a")
	require.NoError(t, err)
	require.Equal(t, next, key.ID)
}

// TestAliasOfOneWinner: of many who create an alias at once one wins, the others are told.
func TestAliasOfOneWinner(t *testing.T) {
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	var won, lost int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 16 {
		m := k.Another(t)
		all.Go(func() {
			err := m.CreateAlias(t.Context(), "alias/a", id)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if errors.Is(err, kms.ErrExists) {
				lost++
			}
		})
	}
	all.Wait()
	require.Equal(t, 1, won)
	require.Equal(t, 15, lost)
}

func aliases(t *testing.T, k *kmstest.KMS, ref string) (all []kms.Alias) {
	for a, err := range k.Aliases(t.Context(), ref) {
		require.NoError(t, err)
		all = append(all, a)
	}
	return all
}

// TestDefaultKeyOfAnotherInstance: alias/default names a key of the default instance, which does not
// go with a tenant.
func TestDefaultKeyOfAnotherInstance(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := kit.Tenant(t, k, "tenant-7", 10)
	require.ErrorIs(t, k.CreateAlias(ctx, kms.DefaultKey, id), kms.ErrInvalid)
	own := k.MustCreateKey(t).ID
	require.NoError(t, k.CreateAlias(ctx, kms.DefaultKey, own))
	require.ErrorIs(t, k.UpdateAlias(ctx, kms.DefaultKey, id), kms.ErrInvalid)
	key, err := k.DescribeKey(ctx, kms.DefaultKey)
	require.NoError(t, err)
	require.Equal(t, own, key.ID)
}

// TestDefaultKey: made on first use and only then, one for all, and a new one after it was
// deleted.
func TestDefaultKey(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	require.ErrorIs(t, kit.Err(k.DescribeKey(ctx, kms.DefaultKey)), kms.ErrNotFound)
	require.ErrorIs(t, kit.Err(k.DisableKey(ctx, kms.DefaultKey)), kms.ErrNotFound)

	var all sync.WaitGroup
	ids := make(chan string, 32)
	for range cap(ids) {
		m := k.Another(t)
		all.Go(func() {
			dataKey, err := m.GenerateDataKey(t.Context(), kms.DefaultKey, nil)
			if err != nil {
				t.Error(err)
			}
			ids <- dataKey.KeyID
		})
	}
	all.Wait()
	key, err := k.DescribeKey(ctx, kms.DefaultKey)
	require.NoError(t, err)
	for range cap(ids) {
		require.Equal(t, key.ID, <-ids)
	}
	require.Len(t, kit.Keys(t, k, nil), 1)

	require.NoError(t, kit.Err(k.DisableKey(ctx, kms.DefaultKey)))
	require.ErrorIs(t, kit.Err(k.Encrypt(ctx, kms.DefaultKey, nil, nil)), kms.ErrDisabled)
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, kms.DefaultKey, 7)))
	require.ErrorIs(t, kit.Err(k.Encrypt(ctx, kms.DefaultKey, nil, nil)), kms.ErrPendingDeletion)
	k.Clock.AdvanceDays(7)
	dataKey, err := k.GenerateDataKey(ctx, kms.DefaultKey, nil)
	require.NoError(t, err)
	require.NotEqual(t, key.ID, dataKey.KeyID)
	require.NoError(t, k.DeleteAlias(ctx, kms.DefaultKey))
	dataKey2, err := k.GenerateDataKey(ctx, kms.DefaultKey, nil)
	require.NoError(t, err)
	require.NotEqual(t, dataKey.KeyID, dataKey2.KeyID)
}

// TestDefaultKeyKilled: killed at either write of its making, before or after it took
// effect, the next use ends with one key.
func TestDefaultKeyKilled(t *testing.T) {
	for put := 1; put <= 2; put++ {
		for _, applied := range []bool{false, true} {
			ctx := t.Context()
			k := kmstest.New(t)
			puts := 0
			k.Store.OnPut(func(string) (bool, error) {
				if puts++; puts == put {
					return applied, errors.New("killed")
				}
				return true, nil
			})
			require.ErrorIs(t, kit.Err(k.Encrypt(ctx, kms.DefaultKey, nil, nil)), kms.ErrUnavailable)
			k.Store.OnPut(nil)
			require.NoError(t, kit.Err(k.Another(t).Encrypt(ctx, kms.DefaultKey, nil, nil)))
			require.Len(t, kit.Keys(t, k, nil), 1, "put %d applied %v", put, applied)
		}
	}
}

// TestDefaultKeyDenied: who may not create keys makes no default key.
func TestDefaultKeyDenied(t *testing.T) {
	k := kmstest.New(t, func(c *kms.Config) {
		c.Authorize = func(_ context.Context, r kms.Request) error {
			if r.Op == kms.OpCreateKey {
				return errors.New("no")
			}
			return nil
		}
	})
	require.ErrorIs(t, kit.Err(k.Encrypt(t.Context(), kms.DefaultKey, nil, nil)), kms.ErrDenied)
	require.Empty(t, kit.Keys(t, k, nil))
}
