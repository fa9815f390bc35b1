package kms_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy"
	"github.com/stretchr/testify/require"
)

// costly are characters that take the most bytes in a record, by the bytes that they have.
var costly = []string{"<", "\x01", "\u2028", "𝄞"}

// TestRecordBounds: a record that is at the bounds of all its parts, and in which every other
// field is as long as it may be, is one that can be written. So a change of state always fits. The
// bounds leave room for 50 tags of 128 and 256 characters of any kind beside the longest
// description.
func TestRecordBounds(t *testing.T) {
	parts, mostRest, whole := kms.Bounds()
	rest, unbounded := kms.RestAtBounds()
	require.Empty(t, unbounded, "fields of a record that have no bound")
	require.LessOrEqual(t, rest, mostRest)
	sum := mostRest
	for _, most := range parts {
		sum += most
	}
	require.Len(t, parts, 3)
	require.LessOrEqual(t, sum, whole)
	require.Less(t, whole+1024, keystore.MaxValue)
	const escaped = 6 // bytes of a character, at most
	require.LessOrEqual(t, escaped*(50*(128+256)+kms.MaxDescription)+50*len(`"":"",`), parts["its description, tags and dependents"])
}

// fill says as much of a key as its bounds allow, in one kind of character: one thing alone, or
// everything. It reports what was refused because there was no room.
func fill(t *testing.T, m *kms.Manager, id, char, what string) (refused int) {
	ctx := t.Context()
	said := func(err error) {
		if err != nil {
			require.Equal(t, []string{"ErrLimit"}, kit.Conditions(err))
			require.ErrorContains(t, err, "192 KiB")
			require.Contains(t, kms.Hint(err), "remove tags or dependents")
			refused++
		}
	}
	if what != "dependents" {
		said(kit.Err(m.SetDescription(ctx, id, strings.Repeat(char, kms.MaxDescription))))
		tags := map[string]string{}
		for i := range kms.MaxTags {
			tags[fmt.Sprintf("%0128d", i)] = strings.Repeat("v", kms.MaxTag)
		}
		said(kit.Err(m.SetTags(ctx, id, tags)))
	}
	if what == "annotations" {
		return refused
	}
	// All but the last of those that fit are registered by one write.
	var all []kms.Dependent
	for i := range kms.MaxDependents - 1 {
		name := fmt.Sprintf("%03d", i)
		all = append(all, kms.Dependent{Name: name + strings.Repeat(char, kms.MaxDependent-len(name)), Note: strings.Repeat(char, kms.MaxDependent)})
	}
	for len(all) > 0 && kms.Give(ctx, m, kms.OpAddDependent, id, 0, all) != nil {
		all, refused = all[:len(all)-1], refused+1
	}
	sizes := []int{kms.MaxDependent, 100, 10} // until nothing fits any more
	for _, n := range sizes[:min(len(sizes), kms.MaxDependents-len(all))] {
		said(kit.Err(m.AddDependent(ctx, id, kms.Dependent{Name: "last" + strings.Repeat(char, n-4), Note: strings.Repeat(char, n)})))
	}
	return refused
}

// brake makes every change of state of a key, and has Maintain purge it. None of it may be refused.
func brake(t *testing.T, k *kmstest.KMS, m *kms.Manager, id string) {
	ctx := t.Context()
	do := func(_ kms.Key, err error) {
		t.Helper()
		require.NoError(t, err)
	}
	key, err := m.DescribeKey(ctx, id)
	require.NoError(t, err)
	maintain := func(days int) {
		t.Helper()
		k.Clock.AdvanceDays(days)
		require.NoError(t, kit.Err(m.Maintain(ctx)))
	}
	why := strings.Repeat("\x01", kms.MaxDescription)
	do(m.SetDeletionProtection(ctx, id, true, why))
	do(m.DisableKey(ctx, id))
	do(m.EnableKey(ctx, id))
	do(m.SetBrownout(ctx, id, 0.123456, k.Clock.Now().AddDate(1000, 0, 0)))
	if key.Origin == kms.OriginKMS {
		do(m.UpdateRotationPolicy(ctx, id, kms.MaxRotationDays))
	}
	if before := key.PrimaryVersion; before > 1 {
		o := kms.RetireOptions{Before: before, Days: 7, Force: true, Reason: strings.Repeat("\x01", kms.MaxDependent)}
		do(m.RetireKeyVersions(ctx, id, o))
		do(m.CancelRetirement(ctx, id))
		do(m.RetireKeyVersions(ctx, id, o))
		maintain(7)
		maintain(1)
	}
	do(m.SetDeletionProtection(ctx, id, false, ""))
	if len(key.Dependents) > 0 {
		do(m.RemoveDependent(ctx, id, key.Dependents[0]))
		require.NoError(t, kms.Give(ctx, m, kms.OpRemoveDependent, id, 0, nil))
	}
	if key.Origin == kms.OriginExternal {
		do(m.DeleteKeyMaterial(ctx, id, nil))
	} else {
		do(m.DisableKey(ctx, id))
	}
	do(m.ScheduleKeyDeletion(ctx, id, 366))
	do(m.CancelKeyDeletion(ctx, id))
	do(m.ScheduleKeyDeletion(ctx, id, 7))
	maintain(7)
	maintain(1)
	require.ErrorIs(t, kit.Err(m.DescribeKey(ctx, id)), kms.ErrNotFound)
}

// TestEmergencyBrake: whatever callers said of a key, and however it came about, every change of
// its state fits, and so does what Maintain does. What callers say takes no room from the versions.
func TestEmergencyBrake(t *testing.T) {
	most := func(c *kms.Config) { c.MaxKeyVersions = 1000 }
	versions := func(t *testing.T, m *kms.Manager, id string) {
		key, err := m.DescribeKey(t.Context(), id)
		require.NoError(t, err)
		left := key.Rotation.VersionsLeft
		require.Greater(t, left, 900)
		require.NoError(t, kms.Give(t.Context(), m, kms.OpRotateKey, id, left-1, key.Dependents))
		require.NoError(t, kit.Err(m.RotateKey(t.Context(), id)))
		require.ErrorIs(t, kit.Err(m.RotateKey(t.Context(), id)), kms.ErrLimit)
	}
	recipient := kit.Root(t, 7)
	ways := map[string]func(t *testing.T, char, what string) (k *kmstest.KMS, m *kms.Manager, id string){
		"created": func(t *testing.T, char, what string) (*kmstest.KMS, *kms.Manager, string) {
			k := kmstest.New(t)
			id := k.MustCreateKey(t).ID
			fill(t, k.Manager, id, char, what)
			return k, k.Manager, id
		},
		"rotated": func(t *testing.T, char, what string) (*kmstest.KMS, *kms.Manager, string) {
			k := kmstest.New(t, most)
			id := k.MustCreateKey(t).ID
			fill(t, k.Manager, id, char, what)
			versions(t, k.Manager, id)
			return k, k.Manager, id
		},
		"imported": func(t *testing.T, char, what string) (*kmstest.KMS, *kms.Manager, string) {
			k := kmstest.New(t)
			id, _, _ := kit.ImportedKey(t, k, kit.Material())
			fill(t, k.Manager, id, char, what)
			return k, k.Manager, id
		},
		"taken over": func(t *testing.T, char, what string) (*kmstest.KMS, *kms.Manager, string) {
			k := kmstest.New(t)
			old := legacy.Key{ID: legacy.NameID("test", "many")}
			for i := range 1000 {
				old.Versions = append(old.Versions, legacy.NewVersion(strconv.Itoa(i)+strings.Repeat("x", 60), k.Clock.Now(), make([]byte, 32)))
			}
			m := k.Another(t, most, kit.WithSources(badSource{kit.OldKeyring(t, "none", 1).Empty, "many", []legacy.Key{old}, nil}))
			require.NoError(t, kit.Err(m.MigrateLegacyKey(t.Context(), old.ID, "")))
			fill(t, m, old.ID, char, what)
			versions(t, m, old.ID)
			return k, m, old.ID
		},
		"restored": func(t *testing.T, char, what string) (*kmstest.KMS, *kms.Manager, string) {
			from := kmstest.New(t)
			id := kit.Tenant(t, from, "acme", 0)
			fill(t, from.Manager, id, char, what)
			require.NoError(t, kit.Err(from.SetDeletionProtection(t.Context(), id, true, strings.Repeat("\x01", kms.MaxDescription))))
			k := kit.NewService(t, from)
			backup := kit.Backup(t, from.Manager, "acme", recipient)
			require.Equal(t, 1, kit.Restore(t, k.Manager, backup, recipient, nil).Restored)
			require.Empty(t, kit.Restore(t, k.Manager, backup, recipient, nil).Skipped)
			return k, k.Manager, id
		},
	}
	for way, make := range ways {
		for _, what := range []string{"annotations", "dependents", "everything"} {
			for _, char := range costly {
				if way != "created" && char != "\u2028" {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%+q", way, what, char), func(t *testing.T) {
					t.Parallel()
					k, m, id := make(t, char, what)
					brake(t, k, m, id)
				})
			}
		}
	}
}

// TestAnnotationsAreBounded: of what callers say of a key there is a bound in bytes, for all of it
// together. What makes it shorter is never refused, and what is refused says what would help.
func TestAnnotationsAreBounded(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	require.Zero(t, fill(t, k.Manager, id, "<", "everything"), "a character of one byte takes one")
	id = k.MustCreateKey(t).ID
	require.NotZero(t, fill(t, k.Manager, id, "\x01", "everything"))
	stored := kit.StoredValue(t, k, "key/"+id)
	require.ErrorIs(t, kit.Err(k.AddDependent(ctx, id, kms.Dependent{Name: strings.Repeat("\x01", 200)})), kms.ErrLimit)
	require.Equal(t, stored, kit.StoredValue(t, k, "key/"+id))
	require.NoError(t, kit.Err(k.SetDescription(ctx, id, "shorter")))
	require.NoError(t, kit.Err(k.AddDependent(ctx, id, kms.Dependent{Name: strings.Repeat("\x01", 200)})))
}

// TestRestoreWithoutRoom: a key that would be too long with what a backup adds to it stays as it is
// and is in the report. The Restore itself goes on.
func TestRestoreWithoutRoom(t *testing.T) {
	ctx := t.Context()
	k, recipient := kmstest.New(t), kit.Root(t, 7)
	full := kit.Tenant(t, k, "acme", 0)
	free := kit.KeyIn(t, k, "acme")
	to := kit.NewService(t, k)
	kit.Restore(t, to.Manager, kit.Backup(t, k.Manager, "acme", recipient), recipient, nil)
	fill(t, k.Manager, full, "\x01", "dependents")
	require.NoError(t, kit.Err(k.DisableKey(ctx, free)))
	var others []kms.Dependent
	for i := range 40 {
		others = append(others, kms.Dependent{Name: strconv.Itoa(i), Note: strings.Repeat("\x01", kms.MaxDependent)})
	}
	require.NoError(t, kms.Give(ctx, to.Manager, kms.OpAddDependent, full, 0, others))
	report := kit.Restore(t, to.Manager, kit.Backup(t, k.Manager, "acme", recipient), recipient, nil)
	require.Equal(t, []kms.SkippedItem{{KeyID: full, Why: kms.SkippedTooLarge}}, report.Skipped)
	require.Equal(t, []string{free}, report.Merged)
	key, err := to.DescribeKey(ctx, full)
	require.NoError(t, err)
	require.Len(t, key.Dependents, 40)
}

// TestUsageIsBounded: what is kept of the use of versions, and of what they may encrypt, does not
// grow with every version that a key ever had.
func TestUsageIsBounded(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, kit.InHardware)
	id := kit.HardwareKey(t, k)
	var uses uint64
	longest := map[string]int{}
	for range 12 {
		for range 3 {
			require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))
			uses++
			key, err := k.RotateKey(ctx, id)
			require.NoError(t, err)
			require.LessOrEqual(t, key.PrimaryVersion, 37)
		}
		key, err := k.DescribeKey(ctx, id)
		require.NoError(t, err)
		require.NoError(t, kit.Err(k.RetireKeyVersions(ctx, id, kms.RetireOptions{Before: key.PrimaryVersion, Days: 7, Force: true, Reason: "r"})))
		for _, days := range []int{7, 1} {
			k.Clock.AdvanceDays(days)
			require.NoError(t, kit.Err(k.Maintain(ctx)))
		}
		for _, name := range []string{"usage/" + id, "allowance/" + id, "key/" + id} {
			size := len(kit.StoredValue(t, k, name))
			if longest[name] == 0 {
				longest[name] = size
			}
			require.Less(t, size, longest[name]+100, name)
		}
	}
	usage, err := k.KeyUsage(ctx, id)
	require.NoError(t, err)
	require.Equal(t, uses, usage.Uses())
	require.Empty(t, usage.Versions)
	require.Equal(t, kms.VersionUsage{Version: 36, Uses: uses, Last: k.Clock.Now().Add(-8 * 24 * time.Hour), LastOp: kms.OpEncrypt}, usage.Retired)
	require.Equal(t, usage.Retired, usage.Last())
	plan, err := k.PlanDeletion(ctx, id)
	require.NoError(t, err)
	require.Contains(t, plan.String(), "versions that were retired were used 36 times")
	require.False(t, errors.Is(kit.Err(k.Encrypt(ctx, id, nil, nil)), kms.ErrLimit))
}
