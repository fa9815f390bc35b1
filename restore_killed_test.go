package kms_test

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore/keystoretest"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestRestoreKilled: a Restore whose k-th write fails, or whose answer is lost, is repeated, and
// ends as one that nothing happened to: after a release, into a new store, and over keys that
// lived on.
func TestRestoreKilled(t *testing.T) {
	ctx := t.Context()
	recipient, lost := kit.Root(t, 7), errors.New("connection reset")
	type scene struct {
		k      *kmstest.KMS
		h      *household
		backup []byte
	}
	begin := func(t *testing.T) scene {
		k := kmstest.New(t)
		kit.Tenant(t, k, "acme", 0)
		h := newHousehold(t, k, "acme")
		return scene{k, h, kit.Backup(t, k.Manager, "acme", recipient)}
	}
	for name, into := range map[string]func(*testing.T, scene) *kmstest.KMS{
		"released": func(t *testing.T, s scene) *kmstest.KMS {
			require.NoError(t, kit.Err(s.k.ReleaseInstance(ctx, "acme", kit.Force())))
			return s.k
		},
		"fresh": func(t *testing.T, s scene) *kmstest.KMS { return kit.NewService(t, s.k) },
		"merged": func(t *testing.T, s scene) *kmstest.KMS {
			to := kit.NewService(t, s.k)
			kit.Restore(t, to.Manager, s.backup, recipient, nil)
			require.NoError(t, kit.Err(s.k.DisableKey(ctx, s.h.sealed)))
			require.NoError(t, kit.Err(s.k.RotateKey(ctx, s.h.turned)))
			require.NoError(t, kit.Err(s.k.AddDependent(ctx, s.h.signer, kms.Dependent{Name: "d"})))
			kit.KeyIn(t, s.k, "acme")
			return to
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := begin(t)
			first := into(t, s)
			if name == "merged" {
				s.backup = kit.Backup(t, s.k.Manager, "acme", recipient)
			}
			before := kit.CopyStore(t, first.Store)
			var puts atomic.Int32
			first.Store.OnPut(func(string) (bool, error) { puts.Add(1); return true, nil })
			kit.Restore(t, first.Manager, s.backup, recipient, nil)
			first.Store.OnPut(nil)
			end, n := kit.Outcome(t, first.Another(t)), puts.Load()
			require.Positive(t, n)
			for failing := range n {
				for _, applied := range []bool{false, true} {
					store := keystoretest.NewFlaky(kit.CopyStore(t, before))
					open := func() *kms.Manager {
						return first.Another(t, func(c *kms.Config) { c.Store = store })
					}
					m := open()
					var at atomic.Int32
					store.OnPut(func(string) (bool, error) { // and nothing that comes after it, as when a process dies
						now := at.Add(1)
						if now <= failing {
							return true, nil
						}
						return applied && now == failing+1, lost
					})
					_, err := m.Restore(ctx, bytes.NewReader(s.backup), recipient, nil)
					require.ErrorIs(t, err, lost)
					require.ErrorIs(t, err, kms.ErrUnavailable)
					store.OnPut(nil)
					kit.Restore(t, m, s.backup, recipient, nil)
					for _, m := range []*kms.Manager{m, open()} {
						require.Equal(t, end, kit.Outcome(t, m), "write %d of %d, applied: %v", failing+1, n, applied)
					}
				}
			}
			t.Logf("%s: killed at each of %d writes, twice", name, n)
		})
	}
}
