package kms_test

import (
	"bytes"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// attacks are what one who can write to the store may try on a key's record. Each is found,
// stops that key alone, and leaves the other usable.
var attacks = []struct {
	name string
	on   func(t *testing.T, k *kmstest.KMS, victim, other string) // changes the store
}{
	{"change the state", swap(`"disabled":true`, `"disabled":null`)},
	{"re-enable", swap(`"disabled":true,`, ``)},
	{"undelete", swap(`"deleteAt":`, `"dueSeenAt":`)},
	{"move the date", swap(`"deleteAt":"2026`, `"deleteAt":"2027`)},
	{"drop the protection", swap(`"protected":true`, `"protected":false`)},
	{"raise the sequence", swap(`"seq":`, `"seq":9`)},
	{"add a field", swap(`{"id"`, `{"x":1,"id"`)},
	{"the other key's record", func(t *testing.T, k *kmstest.KMS, victim, other string) {
		kit.EditItem(t, k, "key/"+victim, func([]byte) []byte { return kit.StoredValue(t, k, "key/"+other) })
	}},
	{"an alias's record", func(t *testing.T, k *kmstest.KMS, victim, other string) {
		require.NoError(t, k.CreateAlias(t.Context(), "alias/a", other))
		kit.EditItem(t, k, "key/"+victim, func([]byte) []byte { return kit.StoredValue(t, k, "alias/a") })
	}},
	{"the other key's material", func(t *testing.T, k *kmstest.KMS, victim, other string) {
		sealed := func(b []byte) []byte {
			_, rest, _ := bytes.Cut(b, []byte(`"sealed":"`))
			s, _, _ := bytes.Cut(rest, []byte(`"`))
			return s
		}
		theirs := sealed(kit.StoredValue(t, k, "key/"+other))
		kit.EditItem(t, k, "key/"+victim, func(v []byte) []byte { return bytes.Replace(v, sealed(v), theirs, 1) })
	}},
	{"a key of another store", func(t *testing.T, k *kmstest.KMS, victim, other string) {
		elsewhere := kmstest.New(t)
		kit.EditItem(t, k, "key/"+victim, func([]byte) []byte { return kit.StoredValue(t, elsewhere, "key/"+elsewhere.MustCreateKey(t).ID) })
	}},
	{"empty", func(t *testing.T, k *kmstest.KMS, victim, other string) {
		kit.EditItem(t, k, "key/"+victim, func([]byte) []byte { return nil })
	}},
	{"another instance", func(t *testing.T, k *kmstest.KMS, victim, other string) {
		kit.EditItem(t, k, "key/"+victim, func(v []byte) []byte { return bytes.Replace(v, []byte("\x07default"), []byte("\x07defaulx"), 1) })
	}},
	{"an instance whose name ends nowhere", func(t *testing.T, k *kmstest.KMS, victim, other string) {
		kit.EditItem(t, k, "key/"+victim, func(v []byte) []byte { return append([]byte{1, 255}, bytes.Repeat(v, 2)...) })
	}},
	{"another format", func(t *testing.T, k *kmstest.KMS, victim, other string) {
		kit.EditItem(t, k, "key/"+victim, func(v []byte) []byte { v[0] = 2; return v })
	}},
	{"something behind it", func(t *testing.T, k *kmstest.KMS, victim, other string) {
		kit.EditItem(t, k, "key/"+victim, func(v []byte) []byte { return append(v, ' ') })
	}},
}

// swap replaces a text in the victim's record, and fails where it is not there.
func swap(old, new string) func(*testing.T, *kmstest.KMS, string, string) {
	return func(t *testing.T, k *kmstest.KMS, victim, _ string) {
		kit.EditItem(t, k, "key/"+victim, func(v []byte) []byte {
			require.Contains(t, string(v), old)
			return bytes.Replace(v, []byte(old), []byte(new), 1)
		})
	}
}

// victim is a key with every fact that an attacker might want to change.
func victim(t *testing.T, k *kmstest.KMS) string {
	id := kit.DisabledKey(t, k)
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(t.Context(), id, 7)))
	require.NoError(t, kit.Err(k.CancelKeyDeletion(t.Context(), id)))
	require.NoError(t, kit.Err(k.SetDeletionProtection(t.Context(), id, true, "why")))
	require.NoError(t, kms.Change(t.Context(), k.Manager, id, k.Clock.Now().Add(1e15)))
	return id
}

// TestTamperedRecord: what was edited, swapped, moved or cut is ErrTampered for every
// operation, in this process and in one that begins, and stops that key alone.
func TestTamperedRecord(t *testing.T) {
	for _, attack := range attacks {
		t.Run(attack.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			k := kmstest.New(t)
			other := k.MustCreateKey(t).ID
			id := victim(t, k)
			require.NoError(t, kit.Err(k.DescribeKey(ctx, id)))
			attack.on(t, k, id, other)
			for _, m := range []*kms.Manager{k.Manager, k.Another(t)} {
				require.ErrorIs(t, kit.Err(m.DescribeKey(ctx, id)), kms.ErrTampered)
				require.ErrorIs(t, kit.Err(m.Encrypt(ctx, id, nil, nil)), kms.ErrTampered)
				require.ErrorIs(t, kit.Err(m.EnableKey(ctx, id)), kms.ErrTampered)
				require.NoError(t, kit.Err(m.Encrypt(ctx, other, nil, nil)))
				listed := map[string]bool{}
				for key, err := range m.Keys(ctx, nil) {
					listed[key.ID] = err == nil
				}
				require.Equal(t, map[string]bool{id: false, other: true}, listed)
				k.Clock.AdvanceDays(1) // when it looks at all keys again
				report, err := m.Maintain(ctx)
				require.ErrorIs(t, err, kms.ErrTampered)
				require.Equal(t, []string{id}, report.Tampered)
			}
		})
	}
}

// TestTamperedEveryBit flips each bit of a record and cuts it at each length.
func TestTamperedEveryBit(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	good := kit.StoredValue(t, k, "key/"+id)
	check := func(bad []byte) {
		kit.EditItem(t, k, "key/"+id, func([]byte) []byte { return bad })
		require.ErrorIs(t, kit.Err(k.DescribeKey(ctx, id)), kms.ErrTampered)
	}
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		check(bad)
	}
	for n := range good {
		check(good[:n])
	}
	kit.EditItem(t, k, "key/"+id, func([]byte) []byte { return good })
	require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))
}

// TestTamperedAlias: an alias that was pointed at another key is refused, not followed.
func TestTamperedAlias(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	require.NoError(t, k.CreateAlias(ctx, "alias/a", k.MustCreateKey(t).ID))
	require.NoError(t, k.CreateAlias(ctx, "alias/b", k.MustCreateKey(t).ID))
	kit.EditItem(t, k, "alias/a", func([]byte) []byte { return kit.StoredValue(t, k, "alias/b") })
	require.ErrorIs(t, kit.Err(k.Encrypt(ctx, "alias/a", nil, nil)), kms.ErrTampered)
	require.NoError(t, kit.Err(k.Encrypt(ctx, "alias/b", nil, nil)))
	seen := map[string]bool{}
	for a, err := range k.Aliases(ctx, "") {
		seen[a.Name] = err == nil
	}
	require.Equal(t, map[string]bool{"alias/a": false, "alias/b": true}, seen)
}

// TestTamperedInstance: an instance that was edited, exchanged or taken away opens nothing.
func TestTamperedInstance(t *testing.T) {
	k := kmstest.New(t)
	k.MustCreateKey(t)
	good := kit.StoredValue(t, k, "instance/default")
	open := func(bad []byte) error {
		kit.EditItem(t, k, "instance/default", func([]byte) []byte { return bad })
		return kit.Err(kms.Open(t.Context(), k.ConfigWith()))
	}
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 4
		conditions := kit.Conditions(open(bad))
		require.Len(t, conditions, 1, "byte %d", at)
		require.Subset(t, []string{"ErrTampered", "ErrRoot"}, conditions)
		require.Error(t, open(good[:at]))
	}
	require.NoError(t, open(good))

	gone := new(keystore.Memory) // the keys without their instance
	for item, err := range k.Store.List(t.Context(), "key/", "") {
		require.NoError(t, err)
		require.NoError(t, kit.Err(gone.Put(t.Context(), item.Name, "", item.Value)))
	}
	err := kit.Err(kms.Open(t.Context(), k.ConfigWith(func(c *kms.Config) { c.Store = gone })))
	require.ErrorIs(t, err, kms.ErrTampered)
}

// TestStoreIsNoise: neither the material of a key nor what it encrypted is in the store.
func TestStoreIsNoise(t *testing.T) {
	spy := &kit.Spy{Provider: software.New()}
	k := kmstest.New(t, func(c *kms.Config) { c.Software = spy })
	plain := bytes.Repeat([]byte("plaintext-canary"), 4)
	require.NoError(t, kit.Err(k.Encrypt(t.Context(), k.MustCreateKey(t).ID, plain, nil)))
	items, sealed := 0, regexp.MustCompile(`"sealed":"([^"]+)"`)
	for item, err := range k.Store.List(t.Context(), "", "") {
		require.NoError(t, err)
		items++
		noise := [][]byte{item.Value}
		for _, found := range sealed.FindAllSubmatch(item.Value, -1) {
			bytes, err := base64.StdEncoding.DecodeString(string(found[1]))
			require.NoError(t, err)
			noise = append(noise, bytes)
		}
		require.Equal(t, strings.HasPrefix(item.Name, "key/"), len(noise) == 2, "where is the sealed material?")
		for _, secret := range append(spy.Materials, plain) {
			for i := 0; i+16 <= len(secret); i++ {
				for _, b := range noise {
					require.NotContains(t, string(b), string(secret[i:i+16]))
				}
			}
		}
	}
	require.Equal(t, 2, items)
	require.Len(t, spy.Materials, 1)
	require.Greater(t, len(spy.Materials[0]), 32)
}
