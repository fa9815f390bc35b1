package kms_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// TestRotateRoot: afterwards the new root opens the store and everything in it, the old one
// nothing, and Managers that were open go on.
func TestRotateRoot(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	next := kit.Root(t, 2)
	running := k.Another(t)
	id := k.MustCreateKey(t).ID
	c, err := k.Encrypt(ctx, id, []byte("x"), nil)
	require.NoError(t, err)

	require.NoError(t, k.RotateRoot(ctx, next))
	require.ErrorIs(t, kit.Err(kms.Open(ctx, k.ConfigWith())), kms.ErrRoot)
	anew := k.Another(t, func(c *kms.Config) { c.Root = next })
	for _, m := range []*kms.Manager{k.Manager, running, anew} {
		plain, err := m.Decrypt(ctx, c, nil)
		require.NoError(t, err)
		require.Equal(t, "x", string(plain))
	}
	require.NoError(t, k.RotateRoot(ctx, next), "repeated")
	require.NoError(t, running.RotateRoot(ctx, next), "repeated by one that knows the old root only")
	third := kit.Root(t, 3)
	require.NoError(t, anew.RotateRoot(ctx, third))
	require.NoError(t, kit.Err(kms.Open(ctx, k.ConfigWith(func(c *kms.Config) { c.Root = third }))))
	require.ErrorIs(t, running.RotateRoot(ctx, next), kms.ErrRoot, "neither root opens it")
	require.ErrorIs(t, k.RotateRoot(ctx, nil), kms.ErrInvalid)
}

// TestRotateRootKilled kills the rotation at its first write, before and after it took effect. Until it
// was made the old root alone opens the store, then both, and repeating the rotation finishes it. All
// other writes are those of internal/systemtest/rotation.
func TestRotateRootKilled(t *testing.T) {
	for _, applied := range []bool{false, true} {
		ctx := t.Context()
		k := kmstest.New(t)
		next := kit.Root(t, 2)
		id := k.MustCreateKey(t).ID
		c, err := k.Encrypt(ctx, id, []byte("x"), nil)
		require.NoError(t, err)
		k.Store.OnPut(func(string) (bool, error) { return applied, errors.New("killed") })
		err = k.RotateRoot(ctx, next)
		require.ErrorIs(t, err, kms.ErrUnavailable)
		k.Store.OnPut(nil)

		_, withOld := kms.Open(ctx, k.ConfigWith())
		_, withNext := kms.Open(ctx, k.ConfigWith(func(c *kms.Config) { c.Root = next }))
		require.NoError(t, withOld)
		require.Equal(t, applied, withNext == nil)
		require.NoError(t, k.RotateRoot(ctx, next))
		plain, err := k.Another(t, func(c *kms.Config) { c.Root = next }).Decrypt(ctx, c, nil)
		require.NoError(t, err)
		require.Equal(t, "x", string(plain))
	}
}

// A badRoot fails, or does not give back what it was given.
type badRoot struct {
	kms.Root
	encrypt, decrypt error
	wrong            bool
}

func (r badRoot) Encrypt(plain, ad []byte) ([]byte, error) {
	if r.encrypt != nil {
		return nil, r.encrypt
	}
	return r.Root.Encrypt(plain, ad)
}

func (r badRoot) Decrypt(c, ad []byte) ([]byte, error) {
	plain, err := r.Root.Decrypt(c, ad)
	if r.decrypt != nil {
		return nil, r.decrypt
	}
	if r.wrong && err == nil {
		return plain[:31], nil
	}
	return plain, err
}

// TestBadRoot: a root that cannot do its work leaves the store as it was.
func TestBadRoot(t *testing.T) {
	ctx := t.Context()
	outage := errors.New("the vault is sealed")
	for name, bad := range map[string]badRoot{
		"cannot encrypt": {Root: kit.Root(t, 2), encrypt: outage},
		"cannot decrypt": {Root: kit.Root(t, 2), decrypt: outage},
		"gives too few":  {Root: kit.Root(t, 2), wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			k := kmstest.New(t)
			k.MustCreateKey(t)
			before := kit.StoredValue(t, k, "instance/default")
			require.ErrorIs(t, k.RotateRoot(ctx, bad), kms.ErrRoot)
			require.Equal(t, before, kit.StoredValue(t, k, "instance/default"))
			require.NoError(t, kit.Err(kms.Open(ctx, k.ConfigWith())))

			fresh := new(keystore.Memory)
			_, err := kms.Open(ctx, k.ConfigWith(func(c *kms.Config) { c.Root, c.Store = bad, fresh }))
			require.ErrorIs(t, err, kms.ErrRoot)
			require.ErrorIs(t, kit.Err(fresh.Get(ctx, "instance/default")), keystore.ErrNotFound)
		})
	}
}

// TestOpenConfig: what is missing or out of bounds is said.
func TestOpenConfig(t *testing.T) {
	for name, change := range map[string]func(*kms.Config){
		"no store":              func(c *kms.Config) { c.Store = nil },
		"no root":               func(c *kms.Config) { c.Root = nil },
		"no provider":           func(c *kms.Config) { c.Software = nil },
		"a store of nothing":    func(c *kms.Config) { c.Store = (*keystore.Memory)(nil) },
		"a root of nothing":     func(c *kms.Config) { c.Root = (*software.Root)(nil) },
		"a provider of nothing": func(c *kms.Config) { c.Software = (*software.Provider)(nil) },
		"a token of nothing":    func(c *kms.Config) { c.HSM = (*software.Provider)(nil) },
		"staleness below 0":     func(c *kms.Config) { c.MaxStaleness = -1 },
		"staleness of days":     func(c *kms.Config) { c.MaxStaleness = 1e18 },
		"purge delay":           func(c *kms.Config) { c.PurgeDelay = 72*3600e9 + 1 },
		"cache":                 func(c *kms.Config) { c.CacheKeys = 1 << 30 },
		"versions":              func(c *kms.Config) { c.MaxKeyVersions = 1001 },
	} {
		t.Run(name, func(t *testing.T) {
			k := kmstest.New(t)
			require.ErrorIs(t, kit.Err(kms.Open(t.Context(), k.ConfigWith(change))), kms.ErrInvalid)
		})
	}
}

// TestNilRoot: a root that is the nil pointer of a constructor that failed is refused as none at all.
func TestNilRoot(t *testing.T) {
	t.Parallel()
	k, ctx := kmstest.New(t), t.Context()
	for name, none := range map[string]kms.Root{"nil": nil, "a nil pointer": (*software.Root)(nil)} {
		for what, err := range map[string]error{
			"RotateRoot":     k.RotateRoot(ctx, none),
			"BackupInstance": kit.Err(k.BackupInstance(ctx, kms.DefaultInstance, io.Discard, none, nil)),
			"VerifyBackup":   kit.Err(kms.VerifyBackup(ctx, strings.NewReader("a backup"), none)),
			"Restore":        kit.Err(k.Restore(ctx, strings.NewReader("a backup"), none, nil)),
		} {
			require.ErrorIs(t, err, kms.ErrInvalid, "%s, %s", what, name)
		}
	}
}

// TestOpenTogether: of many that open a new store at once, all have the same.
func TestOpenTogether(t *testing.T) {
	k := kmstest.New(t)
	store := new(keystore.Memory)
	managers := make(chan *kms.Manager, 16)
	for range cap(managers) {
		go func() {
			m, err := kms.Open(t.Context(), k.ConfigWith(func(c *kms.Config) { c.Store = store }))
			if err != nil {
				t.Error(err)
			}
			managers <- m
		}()
	}
	first := <-managers
	c, err := first.Encrypt(t.Context(), kms.DefaultKey, []byte("x"), nil)
	require.NoError(t, err)
	for range cap(managers) - 1 {
		m := <-managers
		require.NoError(t, kit.Err(m.Decrypt(t.Context(), c, nil)))
	}
}
