package kms_test

import (
	"testing"

	"github.com/keyhold/kms"
	"github.com/stretchr/testify/require"
)

// A faultyRoot fails at its k-th call.
type faultyRoot struct {
	kms.Root
	at, calls int
}

func (r *faultyRoot) Encrypt(plain, ad []byte) ([]byte, error) {
	if r.calls++; r.calls == r.at {
		return nil, errLost
	}
	return r.Root.Encrypt(plain, ad)
}

func (r *faultyRoot) Decrypt(sealed, ad []byte) ([]byte, error) {
	if r.calls++; r.calls == r.at {
		return nil, errLost
	}
	return r.Root.Decrypt(sealed, ad)
}

// TestRootFaults fails the k-th call of the root, for each k, in each method that has an instance
// key opened or sealed. The answer is ErrRoot with what the root said, and whoever calls again ends
// where one ends to whom nothing happened.
func TestRootFaults(t *testing.T) {
	s := newSubject(t, kms.OriginExternal, kms.Enabled)
	backupOf(t, s.Manager, s.instance, s.Root)
	stored, asked := copyOf(t, s.Store), map[string]int{}
	for name, call := range everyCall(t.Context(), s, s.Manager) {
		if call == nil || name == "DeleteAlias" || name == "RotateRoot" { // needs no key; see below
			continue
		}
		t.Run(name, func(t *testing.T) {
			begin := func() (func() error, *kms.Manager, *faultyRoot) {
				root, store := &faultyRoot{Root: s.Root}, copyOf(t, stored)
				m := s.Another(t, func(c *kms.Config) { c.Store, c.Root, c.CacheKeys = store, root, 16 })
				if own := faultScenes[name].call; own != nil {
					return func() error { return own(t.Context(), s, m) }, s.over(t, store), root
				}
				return everyCall(t.Context(), s, m)[name], s.over(t, store), root
			}
			call, m, root := begin()
			opened := root.calls
			want := conditionsOf(call())
			asked[name] = root.calls - opened
			before, end := endOf(t, s.over(t, stored)), endOf(t, m)
			for at := 1; at <= asked[name]; at++ {
				call, m, root := begin()
				root.at = root.calls + at
				err := call()
				require.Equal(t, []string{"ErrRoot"}, conditionsOf(err), "call %d: %v", at, err)
				require.ErrorIs(t, err, errLost, "call %d", at)
				if name != "Shred" { // which goes on
					require.Equal(t, before, endOf(t, m), "call %d", at)
				}
				require.Equal(t, want, conditionsOf(call()), "call %d", at)
				require.Equal(t, end, endOf(t, m), "call %d", at)
			}
		})
	}
	require.NotZero(t, asked["BackupInstance"])
	require.NotZero(t, asked["Shred"])
}

// TestRootFaultsAmidShred: an instance that is being shredded has two keys. Whichever call of the old
// root or of the next fails, a rotation that is done again ends with both under the next, and nothing is lost.
func TestRootFaultsAmidShred(t *testing.T) {
	ctx := t.Context()
	s := newSubject(t, kms.OriginExternal, kms.Enabled)
	s.Store.OnPut(func(name string) (bool, error) { return name != "key/"+s.id, errLost })
	require.ErrorIs(t, only(s.Shred(ctx, s.instance)), errLost)
	s.Store.OnPut(nil)
	stored := copyOf(t, s.Store)
	for _, failing := range []string{"the old root", "the next root"} {
		for at, done := 1, false; !done; at++ {
			require.Less(t, at, 50)
			store, old, next := copyOf(t, stored), &faultyRoot{Root: s.Root}, &faultyRoot{Root: newRoot(t, 2)}
			m := s.Another(t, func(c *kms.Config) { c.Store, c.Root, c.CacheKeys = store, old, 16 })
			root := map[string]*faultyRoot{"the old root": old, "the next root": next}[failing]
			root.at = root.calls + at
			err := m.RotateRoot(ctx, next)
			done = root.calls < root.at
			if err != nil {
				require.Equal(t, []string{"ErrRoot"}, conditionsOf(err), "%s, call %d: %v", failing, at, err)
				require.NoError(t, m.RotateRoot(ctx, next))
			}
			m = s.Another(t, func(c *kms.Config) { c.Store, c.Root, c.CacheKeys = store, next.Root, 16 })
			require.NoError(t, only(m.Decrypt(ctx, s.ciphertext, nil)), "%s, call %d", failing, at)
			require.NoError(t, only(m.Shred(ctx, s.instance)))
			require.NoError(t, only(m.Decrypt(ctx, s.ciphertext, nil)))
		}
	}
}
