// Package attacks_test does to the service what attackers do, and what once went wrong.
package attacks_test

import (
	"os"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(kit.Main(m)) }

// An attack is what somebody may do who can write to the store: they know its bytes, all that it
// once held, and the formats. Do makes the attack, and returns the call that would profit from it.
type attack struct {
	attack    string
	do        func(t *testing.T, k *kmstest.KMS) (fruits func(*kms.Manager) error)
	want      error  // what a Manager answers that knew the store before; nil: it does not detect the attack
	restarted error  // what a Manager answers that is opened afterwards; nil: it does not detect the attack
	row       string // what of docs/threat-model.md says so, where one of them does not answer ErrTampered
}

// Rows of docs/threat-model.md.
const (
	rowPutBack   = "**puts back an old record**"
	rowOldStore  = "**puts back an old record**, or the whole store as it once was"
	rowWrites    = "taking records away"
	rowUsage     = "What is known of the use of keys, which is evidence"
	rowAllowance = "an older copy of the store counts less"
)

var storeAttacks = []attack{
	{attack: "a record of before the purge", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, c := kit.UsedKey(t, k)
		old := kit.StoredValue(t, k, "key/"+id)
		purged(t, k, id)
		kit.PutItem(t, k, "key/"+id, old)
		return decrypts(t, c)
	}, want: kms.ErrTampered, row: rowPutBack},
	{attack: "a tombstone made a key", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, c := kit.UsedKey(t, k)
		purged(t, k, id)
		change(t, k, "key/"+id, `"destroyedAt":`, `"dueSeenAt":`)
		return decrypts(t, c)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "a record of before it was disabled", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, c := kit.UsedKey(t, k)
		old := kit.StoredValue(t, k, "key/"+id)
		require.NoError(t, kit.Err(k.DisableKey(t.Context(), id)))
		kit.PutItem(t, k, "key/"+id, old)
		return decrypts(t, c)
	}, want: kms.ErrTampered, row: rowPutBack},
	{attack: "enabled by hand", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, c := kit.UsedKey(t, k)
		require.NoError(t, kit.Err(k.DisableKey(t.Context(), id)))
		change(t, k, "key/"+id, `"disabled":true,`, ``)
		return decrypts(t, c)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "the date put off", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id := kit.PendingKey(t, k)
		change(t, k, "key/"+id, `"deleteAt":"2026`, `"deleteAt":"2027`)
		return cancels(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "the date made past", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id := kit.PendingKey(t, k)
		change(t, k, "key/"+id, `"deleteAt":"2026`, `"deleteAt":"2025`)
		return cancels(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "a record with a later date", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id := kit.DisabledKey(t, k)
		require.NoError(t, kit.Err(k.ScheduleKeyDeletion(t.Context(), id, 300)))
		old := kit.StoredValue(t, k, "key/"+id)
		require.NoError(t, kit.Err(k.CancelKeyDeletion(t.Context(), id)))
		require.NoError(t, kit.Err(k.ScheduleKeyDeletion(t.Context(), id, 7)))
		k.Clock.AdvanceDays(8)
		kit.PutItem(t, k, "key/"+id, old)
		return cancels(t, id)
	}, want: kms.ErrTampered, row: rowPutBack},
	{attack: "the protection dropped", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id := kit.DisabledKey(t, k)
		require.NoError(t, kit.Err(k.SetDeletionProtection(t.Context(), id, true, "")))
		change(t, k, "key/"+id, `"protected":true,`, ``)
		return schedules(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "a dependent dropped", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id := kit.DisabledKey(t, k)
		require.NoError(t, kit.Err(k.AddDependent(t.Context(), id, kms.Dependent{Name: "invoices"})))
		change(t, k, "key/"+id, `"dependents":`, `"doomed":`)
		return schedules(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "a record of before the dependent", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id := kit.DisabledKey(t, k)
		old := kit.StoredValue(t, k, "key/"+id)
		require.NoError(t, kit.Err(k.AddDependent(t.Context(), id, kms.Dependent{Name: "invoices"})))
		kit.PutItem(t, k, "key/"+id, old)
		return schedules(t, id)
	}, want: kms.ErrTampered, row: rowPutBack},
	{attack: "a service's key made a customer's", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		key, err := k.Service("ecs").Key(t.Context())
		require.NoError(t, err)
		change(t, k, "key/"+key.ID, `"owner":"SERVICE"`, `"owner":"CUSTOMER"`)
		return disables(t, key.ID)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "the material of another key", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, c := kit.UsedKey(t, k)
		other, _ := kit.UsedKey(t, k)
		swapFields(t, k, "key/"+id, "key/"+other, "sealed")
		return decrypts(t, c)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "the material of another version", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, c := kit.UsedKey(t, k)
		require.NoError(t, kit.Err(k.RotateKey(t.Context(), id)))
		change(t, k, "key/"+id, `"version":1,`, `"version":2,`)
		return decrypts(t, c)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "the shred secret of another key", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, _, _ := kit.ImportedKey(t, k, kit.Material())
		other, _, _ := kit.ImportedKey(t, k, kit.Material())
		swapFields(t, k, "key/"+id, "key/"+other, "shred")
		return encrypts(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "the key of another instance", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id := kit.Tenant(t, k, "tenant-7", 0)
		kit.Tenant(t, k, "tenant-8", 0)
		swapFields(t, k, "instance/tenant-7", "instance/tenant-8", "key")
		return encrypts(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "the record of another instance", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id := kit.Tenant(t, k, "tenant-7", 0)
		kit.Tenant(t, k, "tenant-8", 0)
		kit.PutItem(t, k, "instance/tenant-7", kit.StoredValue(t, k, "instance/tenant-8"))
		return encrypts(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "an alias pointed at another key", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		twoAliases(t, k)
		kit.PutItem(t, k, "alias/a", kit.StoredValue(t, k, "alias/b"))
		return encrypts(t, "alias/a")
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "what an alias once named", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		twoAliases(t, k)
		old := kit.StoredValue(t, k, "alias/a")
		require.NoError(t, k.UpdateAlias(t.Context(), "alias/a", "alias/b"))
		kit.PutItem(t, k, "alias/a", old)
		return encrypts(t, "alias/a")
	}, want: kms.ErrTampered, row: rowPutBack},
	{attack: "an alias taken away", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		twoAliases(t, k)
		takeAway(t, k, "alias/a")
		return encrypts(t, "alias/a")
	}, want: kms.ErrTampered, restarted: kms.ErrNotFound, row: rowWrites},
	{attack: "an instance of before its release", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id := kit.Tenant(t, k, "tenant-7", 0)
		old := kit.StoredValue(t, k, "instance/tenant-7")
		require.NoError(t, kit.Err(k.ReleaseInstance(t.Context(), "tenant-7", kit.Force())))
		kit.PutItem(t, k, "instance/tenant-7", old)
		return encrypts(t, id)
	}, want: kms.ErrTampered, row: rowPutBack},
	{attack: "a release undone by hand", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		kit.Tenant(t, k, "tenant-7", 0)
		require.NoError(t, kit.Err(k.ReleaseInstance(t.Context(), "tenant-7", kit.Force())))
		change(t, k, "instance/tenant-7", `"releasedAt":`, `"overSeenAt":`)
		return func(m *kms.Manager) error { return kit.Err(m.DescribeInstance(t.Context(), "tenant-7")) }
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "an expired instance renewed by hand", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id := kit.Tenant(t, k, "tenant-7", 10)
		k.Clock.AdvanceDays(11)
		change(t, k, "instance/tenant-7", `"expiresAt":"2026`, `"expiresAt":"2036`)
		return encrypts(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "an instance taken away", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id := kit.Tenant(t, k, "tenant-7", 0)
		takeAway(t, k, "instance/tenant-7")
		return encrypts(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "another spec", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, _ := kit.UsedKey(t, k)
		change(t, k, "key/"+id, `"spec":"AES_256"`, `"spec":"AES_128"`)
		return encrypts(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "another primary version", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, _ := kit.UsedKey(t, k)
		require.NoError(t, kit.Err(k.RotateKey(t.Context(), id)))
		change(t, k, "key/"+id, `"primary":2`, `"primary":1`)
		return encrypts(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "a record of before the rotation", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, _ := kit.UsedKey(t, k)
		old := kit.StoredValue(t, k, "key/"+id)
		require.NoError(t, kit.Err(k.RotateKey(t.Context(), id)))
		kit.PutItem(t, k, "key/"+id, old)
		return encrypts(t, id)
	}, want: kms.ErrTampered, row: rowPutBack},
	{attack: "a version removed", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, c := kit.UsedKey(t, k)
		require.NoError(t, kit.Err(k.RotateKey(t.Context(), id)))
		change(t, k, "key/"+id, `"versions":[`, `"versions":[],"doomed":[`)
		return decrypts(t, c)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "another format", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, _ := kit.UsedKey(t, k)
		kit.EditItem(t, k, "key/"+id, func(v []byte) []byte { v[0] ^= 3; return v })
		return encrypts(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "a record cut", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, _ := kit.UsedKey(t, k)
		kit.EditItem(t, k, "key/"+id, func(v []byte) []byte { return v[:len(v)/2] })
		return encrypts(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "a record emptied", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, _ := kit.UsedKey(t, k)
		kit.PutItem(t, k, "key/"+id, nil)
		return encrypts(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "a record taken away", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, _ := kit.UsedKey(t, k)
		takeAway(t, k, "key/"+id)
		return encrypts(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrNotFound, row: rowWrites},
	{attack: "the default key taken away", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		require.NoError(t, kit.Err(k.Encrypt(t.Context(), kms.DefaultKey, nil, nil)))
		key, err := k.DescribeKey(t.Context(), kms.DefaultKey)
		require.NoError(t, err)
		takeAway(t, k, "key/"+key.ID)
		return encrypts(t, kms.DefaultKey)
	}, want: kms.ErrTampered, row: rowWrites},
	{attack: "a record under a new name", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, _ := kit.UsedKey(t, k)
		name := id[:len(id)-1] + map[bool]string{true: "1", false: "0"}[id[len(id)-1] == '0']
		kit.PutItem(t, k, "key/"+name, kit.StoredValue(t, k, "key/"+id))
		return encrypts(t, name)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "the whole of another store", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, _ := kit.UsedKey(t, k)
		other := kmstest.New(t) // it has the same root
		theirs, _ := kit.UsedKey(t, other)
		for _, item := range kit.StoredItems(t, other) {
			kit.PutItem(t, k, item.Name, item.Value)
		}
		kit.PutItem(t, k, "key/"+id, kit.StoredValue(t, other, "key/"+theirs))
		return encrypts(t, id)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "a half of another store", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		kit.UsedKey(t, k)
		other := kmstest.New(t)
		theirs, _ := kit.UsedKey(t, other)
		for _, item := range kit.StoredItems(t, other) {
			if item.Name != "instance/default" {
				kit.PutItem(t, k, item.Name, item.Value)
			}
		}
		return encrypts(t, theirs)
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
	{attack: "the whole store as it once was", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, c := kit.UsedKey(t, k)
		before := kit.StoredItems(t, k)
		purged(t, k, id)
		for _, item := range before {
			kit.PutItem(t, k, item.Name, item.Value)
		}
		return decrypts(t, c)
	}, want: kms.ErrTampered, row: rowOldStore},
	{attack: "an older count of uses", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, _ := kit.UsedKey(t, k)
		kit.Maintain(t, k)
		old := kit.StoredValue(t, k, "usage/"+id)
		require.NoError(t, kit.Err(k.Encrypt(t.Context(), id, nil, nil)))
		kit.Maintain(t, k)
		kit.PutItem(t, k, "usage/"+id, old)
		return func(m *kms.Manager) error { return kit.Err(m.KeyUsage(t.Context(), id)) }
	}, row: rowUsage},
	{attack: "another count of uses", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, _ := kit.UsedKey(t, k)
		kit.Maintain(t, k)
		change(t, k, "usage/"+id, `"uses":1`, `"uses":0`)
		return func(m *kms.Manager) error { return kit.Err(m.KeyUsage(t.Context(), id)) }
	}, row: rowUsage},
	{attack: "an older allowance in hardware", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, old := spentKey(t, k)
		kit.PutItem(t, k, "allowance/"+id, old)
		return encrypts(t, id)
	}, row: rowAllowance},
	{attack: "a lower allowance in hardware", do: func(t *testing.T, k *kmstest.KMS) func(*kms.Manager) error {
		id, _ := spentKey(t, k)
		change(t, k, "allowance/"+id, `"versions":{"1":`, `"versions":{"2":`)
		return func(m *kms.Manager) error { // what this process has of it is no attacker's
			for range 2 * firstBlock {
				if err := kit.Err(m.Encrypt(t.Context(), id, nil, nil)); err != nil {
					return err
				}
			}
			return nil
		}
	}, want: kms.ErrTampered, restarted: kms.ErrTampered},
}

// TestStoreAttacks does each attack and holds it to what is said of it, for a Manager that knew the
// store before and for one that is opened afterwards. What is not detected is a row of
// docs/threat-model.md.
func TestStoreAttacks(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		require.GreaterOrEqual(t, len(storeAttacks), 25)
		model, err := os.ReadFile("../../../docs/threat-model.md")
		require.NoError(t, err)
		for _, a := range storeAttacks {
			t.Run(a.attack, func(t *testing.T) {
				k := kit.New(t, kit.InHardware, func(c *kms.Config) { c.Store = &lossy{Store: c.Store, gone: map[string]bool{}} })
				fruits := a.do(t, k)
				is := func(want, err error) {
					t.Helper()
					if want == nil {
						require.NoError(t, err)
					} else {
						require.ErrorIs(t, err, want)
						require.Len(t, kit.Conditions(err), 1)
					}
				}
				is(a.want, fruits(k.Manager))
				is(a.restarted, fruits(k.Another(t)))
				require.Equal(t, a.want != kms.ErrTampered || a.restarted != kms.ErrTampered, a.row != "")
				require.True(t, strings.Contains(string(model), a.row), "docs/threat-model.md does not have %q", a.row)
			})
		}
	})
}
