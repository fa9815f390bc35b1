package faults_test

import (
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
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
	s := kit.NewSubject(t, kms.OriginExternal, kms.Enabled)
	kit.Backup(t, s.Manager, s.Instance, s.Root)
	stored, asked := kit.CopyStore(t, s.Store), map[string]int{}
	for name, call := range kit.EveryCall(t.Context(), s, s.Manager) {
		switch {
		case call == nil, name == "DeleteAlias", name == "RotateRoot": // needs no key; see below
			continue
		case name == "SetInstanceDeletionProtection": // is done whatever the root opens: TestProtectionNeedsNoRoot
			continue
		}
		t.Run(name, func(t *testing.T) {
			begin := func() (func() error, *kms.Manager, *faultyRoot) {
				root, store := &faultyRoot{Root: s.Root}, kit.CopyStore(t, stored)
				m := s.Another(t, func(c *kms.Config) { c.Store, c.Root, c.CacheKeys = store, root, 16 })
				if own := faultScenes[name].call; own != nil {
					return func() error { return own(t.Context(), s, m) }, s.Over(t, store), root
				}
				return kit.EveryCall(t.Context(), s, m)[name], s.Over(t, store), root
			}
			call, m, root := begin()
			opened := root.calls
			want := kit.Conditions(call())
			asked[name] = root.calls - opened
			before, end := kit.Outcome(t, s.Over(t, stored)), kit.Outcome(t, m)
			for at := 1; at <= asked[name]; at++ {
				call, m, root := begin()
				root.at = root.calls + at
				err := call()
				require.Equal(t, []string{"ErrRoot"}, kit.Conditions(err), "call %d: %v", at, err)
				require.ErrorIs(t, err, errLost, "call %d", at)
				if name != "Shred" { // which goes on
					require.Equal(t, before, kit.Outcome(t, m), "call %d", at)
				}
				require.Equal(t, want, kit.Conditions(call()), "call %d", at)
				require.Equal(t, end, kit.Outcome(t, m), "call %d", at)
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
	s := kit.NewSubject(t, kms.OriginExternal, kms.Enabled)
	s.Store.OnPut(func(name string) (bool, error) { return name != "key/"+s.ID, errLost })
	require.ErrorIs(t, kit.Err(s.Shred(ctx, s.Instance)), errLost)
	s.Store.OnPut(nil)
	stored := kit.CopyStore(t, s.Store)
	for _, failing := range []string{"the old root", "the next root"} {
		for at, done := 1, false; !done; at++ {
			require.Less(t, at, 50)
			store, old, next := kit.CopyStore(t, stored), &faultyRoot{Root: s.Root}, &faultyRoot{Root: kit.Root(t, 2)}
			m := s.Another(t, func(c *kms.Config) { c.Store, c.Root, c.CacheKeys = store, old, 16 })
			root := map[string]*faultyRoot{"the old root": old, "the next root": next}[failing]
			root.at = root.calls + at
			err := m.RotateRoot(ctx, next)
			done = root.calls < root.at
			if err != nil {
				require.Equal(t, []string{"ErrRoot"}, kit.Conditions(err), "%s, call %d: %v", failing, at, err)
				require.NoError(t, m.RotateRoot(ctx, next))
			}
			m = s.Another(t, func(c *kms.Config) { c.Store, c.Root, c.CacheKeys = store, next.Root, 16 })
			require.NoError(t, kit.Err(m.Decrypt(ctx, s.Ciphertext, nil)), "%s, call %d", failing, at)
			require.NoError(t, kit.Err(m.Shred(ctx, s.Instance)))
			require.NoError(t, kit.Err(m.Decrypt(ctx, s.Ciphertext, nil)))
		}
	}
}

// TestProtectionNeedsNoRoot: the deletion protection of an instance is switched on and off though the root
// does not open the instance. Only the deletions that are scheduled are not counted then.
func TestProtectionNeedsNoRoot(t *testing.T) {
	ctx := t.Context()
	s := kit.NewSubject(t, kms.OriginExternal, kms.Enabled)
	m := s.Another(t)
	require.NoError(t, s.RotateRoot(ctx, kit.Root(t, 2)))
	for _, on := range []bool{true, false} {
		in, err := m.SetInstanceDeletionProtection(ctx, s.Instance, kms.InstanceProtection{On: on})
		require.NoError(t, err)
		require.Equal(t, on, in.Protected)
		require.Zero(t, in.PendingDeletions)
	}
}
