package attacks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"sync"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// What attacks are made of.

// A lossy store is one whose items can be taken away, which no Store can do.
type lossy struct {
	keystore.Store
	mu   sync.Mutex
	gone map[string]bool
}

func (s *lossy) Unwrap() keystore.Store { return s.Store }

func (s *lossy) lacks(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone[name]
}

func (s *lossy) Get(ctx context.Context, name string) (keystore.Item, error) {
	if s.lacks(name) {
		return keystore.Item{}, keystore.ErrNotFound
	}
	return s.Store.Get(ctx, name)
}

func (s *lossy) Put(ctx context.Context, name string, old keystore.Version, v []byte) (keystore.Version, error) {
	if old == "" && s.lacks(name) {
		item, err := s.Store.Get(ctx, name)
		if err != nil {
			return "", err
		}
		s.mu.Lock()
		delete(s.gone, name)
		s.mu.Unlock()
		old = item.Version
	}
	return s.Store.Put(ctx, name, old, v)
}

func (s *lossy) List(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	return func(yield func(keystore.Item, error) bool) {
		for item, err := range s.Store.List(ctx, prefix, after) {
			if (err != nil || !s.lacks(item.Name)) && !yield(item, err) {
				return
			}
		}
	}
}

// takeAway takes an item from the store, and moves the feed as one who replaced it would.
func takeAway(t *testing.T, k *kmstest.KMS, name string) {
	t.Helper()
	kit.EditItem(t, k, name, func(v []byte) []byte { return v })
	s := k.Store.Unwrap().(*lossy)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone[name] = true
}

// change replaces a text in an item, and fails where it is not there.
func change(t *testing.T, k *kmstest.KMS, name, old, new string) {
	t.Helper()
	kit.EditItem(t, k, name, func(v []byte) []byte {
		require.Contains(t, string(v), old)
		return bytes.Replace(v, []byte(old), []byte(new), 1)
	})
}

// swapFields exchanges the texts of a field of two items.
func swapFields(t *testing.T, k *kmstest.KMS, one, other, field string) {
	t.Helper()
	of := func(name string) []byte {
		_, rest, found := bytes.Cut(kit.StoredValue(t, k, name), []byte(`"`+field+`":"`))
		require.True(t, found)
		text, _, _ := bytes.Cut(rest, []byte(`"`))
		return text
	}
	a, b := of(one), of(other)
	kit.EditItem(t, k, one, func(v []byte) []byte { return bytes.Replace(v, a, b, 1) })
	kit.EditItem(t, k, other, func(v []byte) []byte { return bytes.Replace(v, b, a, 1) })
}

func purged(t *testing.T, k *kmstest.KMS, id string) {
	t.Helper()
	require.NoError(t, kit.Err(k.DisableKey(t.Context(), id)))
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(t.Context(), id, 7)))
	k.Clock.AdvanceDays(7)
	require.Equal(t, []string{id}, kit.Maintain(t, k).Purged)
}

func twoAliases(t *testing.T, k *kmstest.KMS) {
	t.Helper()
	for _, name := range []string{"alias/a", "alias/b"} {
		require.NoError(t, k.CreateAlias(t.Context(), name, k.MustCreateKey(t).ID))
	}
}

// firstBlock is how many encryptions with a hardware key a process takes first. The next block
// has twice as many.
const firstBlock = 1 << 10

// spentKey is a hardware key that took two blocks of its allowance, and the item of the first.
func spentKey(t *testing.T, k *kmstest.KMS) (id string, first []byte) {
	t.Helper()
	id = kit.HardwareKey(t, k)
	require.NoError(t, kit.Err(k.Encrypt(t.Context(), id, nil, nil)))
	first = kit.StoredValue(t, k, "allowance/"+id)
	for range firstBlock {
		require.NoError(t, kit.Err(k.Encrypt(t.Context(), id, nil, nil)))
	}
	require.NotEqual(t, first, kit.StoredValue(t, k, "allowance/"+id))
	require.True(t, json.Valid(first[2+len("default")+32:]))
	return id, first
}

func decrypts(t *testing.T, c []byte) func(*kms.Manager) error {
	return func(m *kms.Manager) error { return kit.Err(m.Decrypt(t.Context(), c, nil)) }
}

func encrypts(t *testing.T, ref string) func(*kms.Manager) error {
	return func(m *kms.Manager) error { return kit.Err(m.Encrypt(t.Context(), ref, nil, nil)) }
}

func disables(t *testing.T, ref string) func(*kms.Manager) error {
	return func(m *kms.Manager) error { return kit.Err(m.DisableKey(t.Context(), ref)) }
}

func schedules(t *testing.T, ref string) func(*kms.Manager) error {
	return func(m *kms.Manager) error { return kit.Err(m.ScheduleKeyDeletion(t.Context(), ref, 7)) }
}

func cancels(t *testing.T, ref string) func(*kms.Manager) error {
	return func(m *kms.Manager) error { return kit.Err(m.CancelKeyDeletion(t.Context(), ref)) }
}
