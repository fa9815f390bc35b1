package attacks_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	crdb "github.com/cockroachdb/errors"
	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/keystore/keystoretest"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// Each of these was wrong once.

// What an error shows of a key is a copy: a caller who changes it changes no record.
func TestErrorsAreCopies(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := kit.DisabledKey(t, k)
	require.NoError(t, kit.Err(k.AddDependent(ctx, id, kms.Dependent{Name: "orders"})))
	require.NoError(t, kit.Err(k.DescribeKey(ctx, id)))
	var in *kms.InUseError
	require.ErrorAs(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)), &in)
	in.Dependents[0].Name = "changed"
	require.NoError(t, kit.Err(k.SetDescription(ctx, id, "x")))
	key, err := k.Another(t).DescribeKey(ctx, id)
	require.NoError(t, err)
	require.Equal(t, "orders", key.Dependents[0].Name)
}

// A cancellation that began in time, and was held up until Maintain had seen the date pass,
// is too late.
func TestCancelHeldUp(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, func(c *kms.Config) { c.PurgeDelay = 0 })
	other := k.Another(t, func(c *kms.Config) { c.Store = k.Store.Unwrap() })
	id := kit.PendingKey(t, k)
	k.Store.Before(func(c keystoretest.Call) {
		if c.Method == keystoretest.Put {
			k.Store.Before(nil)
			k.Clock.AdvanceDays(9)
			report, err := other.Maintain(ctx)
			require.NoError(t, err)
			require.Equal(t, []string{id}, report.Noted)
		}
	})
	require.ErrorIs(t, kit.Err(k.CancelKeyDeletion(ctx, id)), kms.ErrNotFound)
	require.ErrorIs(t, kit.Err(other.DescribeKey(ctx, id)), kms.ErrNotFound)
}

// A Manager whose store was closed does nothing more, whatever it is asked and has in memory:
// another process may have the file by now.
func TestClosedStore(t *testing.T) {
	ctx := t.Context()
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "keys.db"), &boltstore.Options{Create: true})
	require.NoError(t, err)
	s := kit.NewSubject(t, kms.OriginExternal, kms.Enabled)
	require.NoError(t, kit.CopyItems(ctx, store, s.Store))
	m := s.Another(t, func(c *kms.Config) { c.Store = store })
	calls := kit.EveryCall(ctx, s, m)
	require.NoError(t, calls["Encrypt"]())
	require.NoError(t, calls["Decrypt"]())
	require.NoError(t, store.Close())
	for name, call := range calls {
		if call == nil {
			continue
		}
		err := call()
		require.ErrorIs(t, err, kms.ErrUnavailable, name)
		require.ErrorIs(t, err, keystore.ErrClosed, name)
	}
}

// A refusal by Authorize that wraps ErrNotFound makes no default key.
func TestDeniedAsNotFound(t *testing.T) {
	k := kmstest.New(t)
	m := k.Another(t, func(c *kms.Config) {
		c.Authorize = func(ctx context.Context, r kms.Request) error {
			if r.Op == kms.OpEncrypt {
				return kit.Err(k.DescribeKey(ctx, kms.DefaultKey))
			}
			return nil
		}
	})
	require.ErrorIs(t, kit.Err(m.Encrypt(t.Context(), kms.DefaultKey, nil, nil)), kms.ErrDenied)
	require.Empty(t, kit.Keys(t, k, nil))
}

// A store that gave one version to two values, as none may, gets no stale key used.
func TestVersionReused(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	m := k.Another(t, func(c *kms.Config) { c.Store = sameVersion{kit.PlainStore{Counted: &kit.Counted{}}, c.Store} })
	id := k.MustCreateKey(t).ID
	require.NoError(t, kit.Err(m.Encrypt(ctx, id, nil, nil)))
	require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
	require.ErrorIs(t, kit.Err(m.Encrypt(ctx, id, nil, nil)), kms.ErrDisabled)
}

type sameVersion struct {
	kit.PlainStore
	of keystore.Store
}

func (s sameVersion) Get(ctx context.Context, name string) (keystore.Item, error) {
	item, err := s.of.Get(ctx, name)
	item.Version = "1"
	item.Name = "" // nor does it say what it read
	return item, err
}

// Who may not ask about an alias does not learn whether it exists, or what it names.
func TestAliasesTellNobody(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	mine, theirs := k.MustCreateKey(t).ID, k.MustCreateKey(t).ID
	require.NoError(t, k.CreateAlias(ctx, "alias/taken", theirs))
	var asked []kms.Request
	m := k.Another(t, func(c *kms.Config) {
		c.Authorize = func(_ context.Context, r kms.Request) error {
			asked = append(asked, r)
			if r.KeyID != mine || r.Alias != "" {
				return errors.New("not yours")
			}
			return nil
		}
	})
	for _, alias := range []string{"alias/taken", "alias/free"} {
		for _, err := range []error{m.CreateAlias(ctx, alias, mine), m.UpdateAlias(ctx, alias, mine), m.DeleteAlias(ctx, alias), kit.Err(m.DescribeKey(ctx, alias))} {
			require.Equal(t, []string{"ErrDenied"}, kit.Conditions(err))
			require.NotContains(t, err.Error(), theirs)
		}
	}
	require.NoError(t, k.DeleteAlias(ctx, "alias/taken"))
	asked = nil
	require.Error(t, m.DeleteAlias(ctx, "alias/taken"))
	require.Equal(t, []kms.Request{{Op: kms.OpDeleteAlias, Alias: "alias/taken"}}, asked)
}

// A provider that hangs holds up whoever waits for it, and nobody else.
func TestProviderThatHangs(t *testing.T) {
	hangs := &hanging{Provider: software.New(), entered: make(chan struct{}, 1)}
	k := kmstest.New(t, func(c *kms.Config) { c.Software = hangs })
	id := k.MustCreateKey(t).ID
	first, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- kit.Err(k.Encrypt(first, id, nil, nil)) }()
	<-hangs.entered
	hangs.through = true
	require.NoError(t, kit.Err(k.Encrypt(t.Context(), id, nil, nil)))
	stop()
	require.ErrorIs(t, <-done, context.Canceled)
}

type hanging struct {
	provider.Provider
	entered chan struct{}
	through bool
}

func (h *hanging) Open(ctx context.Context, id string, spec provider.Spec, material []byte) (provider.Key, error) {
	if h.through {
		return h.Provider.Open(ctx, id, spec, material)
	}
	h.entered <- struct{}{}
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// What callers say of a key stands in errors quoted, cut, and not as what reports may keep.
func TestErrorsQuote(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := kit.DisabledKey(t, k)
	require.NoError(t, kit.Err(k.SetDeletionProtection(ctx, id, true, "hunter2\nlevel=error forged "+strings.Repeat("x", 8000))))
	for _, name := range []string{"Jane Doe", "b", "c", "d", "e"} {
		require.NoError(t, kit.Err(k.AddDependent(ctx, id, kms.Dependent{Name: name})))
	}
	err := kit.Err(k.ScheduleKeyDeletion(ctx, id, 7))
	require.NotContains(t, err.Error(), "\n")
	require.Contains(t, err.Error(), `5 dependents: "Jane Doe", "b", "c", …`)
	require.Less(t, len(err.Error()), 700)
	require.NotContains(t, crdb.Redact(err), "hunter2")
	require.NotContains(t, crdb.Redact(err), "Jane")
	require.Contains(t, crdb.Redact(err), "deletion protection is on")
}

// A deleted key has no aliases to list; it is not found.
func TestAliasesOfADeletedKey(t *testing.T) {
	k := kmstest.New(t)
	id := kit.PendingKey(t, k)
	k.Clock.AdvanceDays(7)
	seen := 0
	for _, err := range k.Aliases(t.Context(), id) {
		require.ErrorIs(t, err, kms.ErrNotFound)
		seen++
	}
	require.Equal(t, 1, seen)
}

// A store whose reads fail with its conflict is not asked for ever.
func TestConflictOfARead(t *testing.T) {
	k := kmstest.New(t)
	k.Store.OnGet(func(string) error { return keystore.ErrConflict })
	require.ErrorIs(t, kit.Err(k.Encrypt(t.Context(), kms.DefaultKey, nil, nil)), kms.ErrUnavailable)
}

// A clock beyond what records can hold is refused, typed.
func TestYear10000(t *testing.T) {
	k := kmstest.New(t)
	id := kit.DisabledKey(t, k)
	k.Clock.Set(time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC))
	require.Equal(t, []string{"ErrInvalid"}, kit.Conditions(kit.Err(k.ScheduleKeyDeletion(t.Context(), id, 7))))
	k.Clock.AdvanceDays(7)
	require.Equal(t, []string{"ErrInvalid"}, kit.Conditions(kit.Err(k.CreateKey(t.Context(), nil))))
	fresh := k.ConfigWith(func(c *kms.Config) { c.Store = new(keystore.Memory) })
	require.Equal(t, []string{"ErrInvalid"}, kit.Conditions(kit.Err(kms.Open(t.Context(), fresh))))
}

// What does not belong into the store stops nothing but itself.
func TestForeignItems(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	for _, name := range []string{"instance/zzz", "key/zzz", "alias/zzz"} {
		require.NoError(t, kit.Err(k.Store.Put(ctx, name, "", []byte("not ours"))))
	}
	next := kit.Root(t, 2)
	require.ErrorIs(t, k.RotateRoot(ctx, next), kms.ErrTampered)
	m := k.Another(t, func(c *kms.Config) { c.Root = next })
	require.NoError(t, kit.Err(m.Encrypt(ctx, id, nil, nil)))
	report, err := m.Maintain(ctx)
	require.ErrorIs(t, err, kms.ErrTampered)
	require.Equal(t, []string{"zzz"}, report.Tampered)
}

// A bad argument for the second half of ReEncrypt is refused before the first is done.
func TestReEncryptRefusesFirst(t *testing.T) {
	ctx := t.Context()
	var told []kms.Op
	k := kmstest.New(t, func(c *kms.Config) {
		c.Observe = func(_ context.Context, e kms.Event) { told = append(told, e.Op) }
	})
	id := k.MustCreateKey(t).ID
	c, err := k.Encrypt(ctx, id, nil, nil)
	require.NoError(t, err)
	told = nil
	require.ErrorIs(t, kit.Err(k.ReEncrypt(ctx, c, nil, id, kms.EncryptionContext{"": "x"})), kms.ErrInvalid)
	require.Equal(t, []kms.Op{kms.OpReEncryptTo}, told)
}

// The default key is created once, and told so once.
func TestDefaultKeyToldOnce(t *testing.T) {
	created := make(chan kms.Event, 100)
	k := kmstest.New(t)
	done := make(chan error)
	for range 16 {
		m := k.Another(t, func(c *kms.Config) {
			c.Observe = func(_ context.Context, e kms.Event) {
				if e.Op == kms.OpCreateKey {
					created <- e
				}
			}
		})
		go func() { done <- kit.Err(m.Encrypt(context.Background(), kms.DefaultKey, nil, nil)) }()
	}
	for range 16 {
		require.NoError(t, <-done)
	}
	require.Len(t, created, 1)
}

// An error put together by hand does not panic.
func TestBlockedByNothing(t *testing.T) {
	require.NotEmpty(t, (&kms.BlockedError{Blockers: []error{&kms.StateError{}, errors.New("x"), nil}}).Error())
}

// TestRecordIsFull: what callers say of a key has a bound of its own. A key that is full of it says
// so, is disabled and rotated as ever, and takes more when there is room again.
func TestRecordIsFull(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	wide := func(n int) string { return strings.Repeat("\u2028", n) } // six bytes each in a record
	var err error
	for i := range kms.MaxDependents {
		d := kms.Dependent{Name: fmt.Sprintf("%03d", i) + wide(kms.MaxDependent-3), Note: wide(kms.MaxDependent)}
		if err = kit.Err(k.AddDependent(ctx, id, d)); err != nil {
			break
		}
	}
	require.Equal(t, []string{"ErrLimit"}, kit.Conditions(err))
	require.ErrorContains(t, err, "192 KiB")
	require.ErrorIs(t, kit.Err(k.SetDescription(ctx, id, wide(kms.MaxDescription))), kms.ErrLimit)
	require.NoError(t, kit.Err(k.SetDeletionProtection(ctx, id, true, wide(kms.MaxDescription))))
	require.NoError(t, kit.Err(k.RotateKey(ctx, id)))
	require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
	require.NoError(t, kit.Err(k.RemoveDependent(ctx, id, kms.Dependent{Name: "000" + wide(kms.MaxDependent-3)})))
	require.NoError(t, kit.Err(k.SetDescription(ctx, id, "shorter")))
}
