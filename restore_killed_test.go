package kms_test

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore/keystoretest"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// endOf is what a store came to, as callers see it: keys, tombstones, aliases, instances.
func endOf(t *testing.T, m *kms.Manager) (end []any) {
	for key, err := range m.Keys(t.Context(), nil) {
		require.NoError(t, err)
		end = append(end, key)
	}
	for _, tomb := range tombstones(t, m) {
		end = append(end, tomb)
	}
	for alias, err := range m.Aliases(t.Context(), "") {
		require.NoError(t, err)
		end = append(end, alias)
	}
	for in, err := range m.Instances(t.Context()) {
		require.NoError(t, err)
		end = append(end, in)
	}
	return end
}

// TestRestoreKilled: a Restore whose k-th write fails, or whose answer is lost, is repeated, and
// ends as one that nothing happened to: after a release, into a new store, and over keys that
// lived on.
func TestRestoreKilled(t *testing.T) {
	ctx := t.Context()
	recipient, lost := newRoot(t, 7), errors.New("connection reset")
	type scene struct {
		k      *kmstest.KMS
		h      *household
		backup []byte
	}
	begin := func(t *testing.T) scene {
		k := kmstest.New(t)
		tenant(t, k, "acme", 0)
		h := newHousehold(t, k, "acme")
		return scene{k, h, backupOf(t, k.Manager, "acme", recipient)}
	}
	for name, into := range map[string]func(*testing.T, scene) *kmstest.KMS{
		"released": func(t *testing.T, s scene) *kmstest.KMS {
			require.NoError(t, only(s.k.ReleaseInstance(ctx, "acme", nil)))
			return s.k
		},
		"fresh": func(t *testing.T, s scene) *kmstest.KMS { return fresh(t, s.k) },
		"merged": func(t *testing.T, s scene) *kmstest.KMS {
			to := fresh(t, s.k)
			restore(t, to.Manager, s.backup, recipient, nil)
			require.NoError(t, only(s.k.DisableKey(ctx, s.h.sealed)))
			require.NoError(t, only(s.k.RotateKey(ctx, s.h.turned)))
			require.NoError(t, only(s.k.AddDependent(ctx, s.h.signer, kms.Dependent{Name: "d"})))
			keyIn(t, s.k, "acme")
			return to
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := begin(t)
			first := into(t, s)
			if name == "merged" {
				s.backup = backupOf(t, s.k.Manager, "acme", recipient)
			}
			before := copyOf(t, first.Store)
			var puts atomic.Int32
			first.Store.OnPut(func(string) (bool, error) { puts.Add(1); return true, nil })
			restore(t, first.Manager, s.backup, recipient, nil)
			first.Store.OnPut(nil)
			end, n := endOf(t, first.Another(t)), puts.Load()
			require.Positive(t, n)
			for failing := range n {
				for _, applied := range []bool{false, true} {
					store := keystoretest.NewFlaky(copyOf(t, before))
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
					restore(t, m, s.backup, recipient, nil)
					for _, m := range []*kms.Manager{m, open()} {
						require.Equal(t, end, endOf(t, m), "write %d of %d, applied: %v", failing+1, n, applied)
					}
				}
			}
			t.Logf("%s: killed at each of %d writes, twice", name, n)
		})
	}
}
