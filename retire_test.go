package kms_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// versioned makes a key with so many versions, and a ciphertext under each.
func versioned(t *testing.T, k *kmstest.KMS, versions int) (id string, ciphertexts [][]byte) {
	t.Helper()
	id = k.MustCreateKey(t).ID
	for version := 1; ; version++ {
		c, err := k.Encrypt(t.Context(), id, []byte("x"), nil)
		require.NoError(t, err)
		ciphertexts = append(ciphertexts, c)
		if version == versions {
			return id, ciphertexts
		}
		require.NoError(t, kit.Err(k.RotateKey(t.Context(), id)))
	}
}

// waits has Maintain wait a day before it destroys anything.
func waits(c *kms.Config) { c.PurgeDelay = 24 * time.Hour }

func forced(before, days int) kms.RetireOptions {
	return kms.RetireOptions{Before: before, Days: days, Force: true, Reason: "moved to version 3"}
}

// opensFrom asserts that a Manager decrypts the ciphertexts of the first version and later ones alone.
func opensFrom(t *testing.T, m *kms.Manager, ciphertexts [][]byte, first int) {
	t.Helper()
	for i, c := range ciphertexts {
		err := kit.Err(m.Decrypt(t.Context(), c, nil))
		if i+1 >= first {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, []string{"ErrRetired"}, kit.Conditions(err))
	}
}

// TestRetire: versions are suspended at once, by every Manager, and brought back until their date;
// from that instant on nothing brings them back, and Maintain destroys their material.
func TestRetire(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		id, c := versioned(t, k, 4)
		other := k.Another(t)
		opensFrom(t, other, c, 1)
		key, err := k.RetireKeyVersions(ctx, id, forced(3, 30))
		require.NoError(t, err)
		at := k.Clock.Now().Add(30 * 24 * time.Hour)
		require.Equal(t, []any{0, 3, at, "moved to version 3"}, []any{key.RetiredBefore, key.RetiringBefore, key.RetiresAt, key.RetiringWhy})
		for _, m := range []*kms.Manager{k.Manager, other, k.Another(t)} {
			opensFrom(t, m, c, 3)
		}
		var retired *kms.RetiredError
		require.ErrorAs(t, kit.Err(k.Decrypt(ctx, c[1], nil)), &retired)
		require.Equal(t, []any{id, 2, at, "moved to version 3"}, []any{retired.KeyID, retired.Version, retired.DestroyAt, retired.Why})
		require.ErrorContains(t, retired, at.Format(time.RFC3339))
		require.Contains(t, kms.Hint(retired), "CancelRetirement")
		stale, err := k.NeedsRewrap(ctx, c[1])
		require.NoError(t, err)
		require.True(t, stale)
		usage, err := k.KeyUsage(ctx, id)
		require.NoError(t, err)
		require.EqualValues(t, 3, usage.Refused, "of this Manager")
		versions, err := k.KeyVersions(ctx, id)
		require.NoError(t, err)
		require.Len(t, versions, 4)
		for i, v := range versions {
			require.Equal(t, i < 2, v.Retiring)
			require.Equal(t, i < 2, v.RetiresAt.Equal(at))
		}

		k.Clock.AdvanceDays(30)
		k.Clock.Advance(-1)
		require.Empty(t, kit.Maintain(t, k).Noted)
		key, err = k.CancelRetirement(ctx, id)
		require.NoError(t, err)
		require.Equal(t, []any{0, 0, time.Time{}, ""}, []any{key.RetiredBefore, key.RetiringBefore, key.RetiresAt, key.RetiringWhy})
		opensFrom(t, k.Manager, c, 1)
		opensFrom(t, other, c, 1)

		require.NoError(t, kit.Err(k.RetireKeyVersions(ctx, id, forced(3, 7))))
		k.Clock.AdvanceDays(7)
		require.Equal(t, []string{"ErrState"}, kit.Conditions(kit.Err(k.CancelRetirement(ctx, id))))
		require.Equal(t, []string{"ErrRetired"}, kit.Conditions(kit.Err(k.NeedsRewrap(ctx, c[1]))))
		key, err = k.DescribeKey(ctx, id)
		require.NoError(t, err)
		require.Equal(t, []any{3, 0}, []any{key.RetiredBefore, key.RetiringBefore})
		require.Equal(t, []string{id}, kit.Maintain(t, k).Noted)
		require.Equal(t, []string{id}, kit.Maintain(t, k).Waiting)
		k.Clock.AdvanceDays(1)
		require.Equal(t, []string{id}, kit.Maintain(t, k).Retired)
		require.Equal(t, kms.Report{Keys: 1}, kit.Maintain(t, k), "nothing is left to do")
		require.ErrorAs(t, kit.Err(k.Decrypt(ctx, c[1], nil)), &retired)
		require.Zero(t, retired.DestroyAt)
		require.NotContains(t, kms.Hint(retired), "CancelRetirement")
		require.Equal(t, []string{"ErrState"}, kit.Conditions(kit.Err(k.CancelRetirement(ctx, id))))
		opensFrom(t, other, c, 3)
		versions, err = k.KeyVersions(ctx, id)
		require.NoError(t, err)
		require.Equal(t, []int{3, 4}, []int{versions[0].Version, versions[1].Version})
		require.Len(t, versions, 2)
		key, err = k.RotateKey(ctx, id)
		require.NoError(t, err)
		require.Equal(t, 5, key.PrimaryVersion)
	}, waits)
}

// TestRetireRefused: what may not be retired is refused, and nothing is changed.
func TestRetireRefused(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id, _ := versioned(t, k, 3)
	protected, _ := versioned(t, k, 3)
	require.NoError(t, kit.Err(k.SetDeletionProtection(ctx, protected, true, "audit")))
	calm := func(before, days int) kms.RetireOptions { return kms.RetireOptions{Before: before, Days: days} }
	for _, test := range []struct {
		name, id string
		opts     kms.RetireOptions
		want     []string
	}{
		{"above the primary version", id, forced(4, 7), []string{"ErrInvalid"}},
		{"far above", id, forced(1<<40, 7), []string{"ErrInvalid"}},
		{"no version", id, forced(1, 7), []string{"ErrInvalid"}},
		{"nothing", id, forced(0, 7), []string{"ErrInvalid"}},
		{"below nothing", id, forced(-1<<40, 7), []string{"ErrInvalid"}},
		{"too soon", id, forced(2, 6), []string{"ErrWindow"}},
		{"too late", id, forced(2, 367), []string{"ErrWindow"}},
		{"force without a reason", id, kms.RetireOptions{Before: 2, Days: 7, Force: true}, []string{"ErrInvalid"}},
		{"a long reason", id, kms.RetireOptions{Before: 2, Days: 7, Reason: strings.Repeat("r", 257)}, []string{"ErrInvalid"}},
		{"used today", id, calm(2, 7), []string{"ErrInUse"}},
		{"protected", protected, calm(2, 7), []string{"ErrProtected"}},
		{"a key that is not rotated", kit.Key(t, k, kms.SpecHMAC256, ""), forced(2, 7), []string{"ErrUsage"}},
		{"a key of imported material", kit.ExternalKey(t, k), forced(2, 7), []string{"ErrOrigin"}},
		{"a key pending deletion", kit.PendingKey(t, k), forced(2, 7), []string{"ErrState"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			stored := kit.StoredValue(t, k, "key/"+test.id)
			require.Equal(t, test.want, kit.Conditions(kit.Err(k.RetireKeyVersions(ctx, test.id, test.opts))))
			require.Equal(t, stored, kit.StoredValue(t, k, "key/"+test.id))
		})
	}
	var used *kms.InUseError
	require.ErrorAs(t, kit.Err(k.RetireKeyVersions(ctx, id, calm(3, 10))), &used)
	require.Len(t, used.Versions, 2)

	// What was used so many days ago is not in use, at that instant.
	k.Clock.AdvanceDays(10)
	require.ErrorIs(t, kit.Err(k.RetireKeyVersions(ctx, id, calm(3, 10))), kms.ErrInUse)
	k.Clock.Advance(time.Second)
	require.NoError(t, kit.Err(k.RetireKeyVersions(ctx, id, calm(3, 10))))
	require.Equal(t, []string{"ErrState"}, kit.Conditions(kit.Err(k.RetireKeyVersions(ctx, id, forced(2, 7)))), "one is pending")
	require.NoError(t, kit.Err(k.RetireKeyVersions(ctx, protected, forced(3, 7))))
	x, err := k.Explain(ctx, kms.OpCancelRetirement, protected)
	require.NoError(t, err)
	require.True(t, x.Allowed)
	k.Clock.AdvanceDays(7)
	x, err = k.Explain(ctx, kms.OpCancelRetirement, protected)
	require.NoError(t, err)
	require.Equal(t, []string{"ErrState"}, kit.Conditions(x.Reasons[0]))
}

// TestRetireClockThatJumped: a clock that jumps past the date and is set right destroys nothing,
// and the wait begins anew when the date comes.
func TestRetireClockThatJumped(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, waits)
	id, c := versioned(t, k, 3)
	require.NoError(t, kit.Err(k.RetireKeyVersions(ctx, id, forced(3, 30))))
	right := k.Clock.Now()
	k.Clock.AdvanceDays(60)
	require.Equal(t, []string{id}, kit.Maintain(t, k).Noted)
	k.Clock.Set(right)
	require.Empty(t, kit.Maintain(t, k).Noted)
	k.Clock.AdvanceDays(1)
	require.NoError(t, kit.Err(k.CancelRetirement(ctx, id)))
	opensFrom(t, k.Manager, c, 1)
	require.NoError(t, kit.Err(k.RetireKeyVersions(ctx, id, forced(3, 100))))
	k.Clock.AdvanceDays(100)
	require.Equal(t, []string{id}, kit.Maintain(t, k).Noted, "the note of the wrong clock does not count")
	k.Clock.AdvanceDays(1)
	k.Clock.Advance(-1)
	require.Equal(t, []string{id}, kit.Maintain(t, k).Waiting)
	k.Clock.Advance(1)
	require.Equal(t, []string{id}, kit.Maintain(t, k).Retired)
}

// TestRetireInHardware: the hardware destroys each version, and a pass that fails is repeated.
func TestRetireInHardware(t *testing.T) {
	ctx := t.Context()
	hardware := &kit.Recorder{Provider: software.New()}
	k := kmstest.New(t, waits, func(c *kms.Config) { c.HSM = hardware })
	key, err := k.CreateKey(ctx, &kms.CreateKeyOptions{Protection: kms.ProtectionHSM})
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, kit.Err(k.RotateKey(ctx, key.ID)))
	}
	require.NoError(t, kit.Err(k.RetireKeyVersions(ctx, key.ID, forced(4, 7))))
	k.Clock.AdvanceDays(7)
	kit.Maintain(t, k)
	k.Clock.AdvanceDays(1)
	hardware.Fail = errors.New("no answer")
	require.ErrorIs(t, kit.Err(k.Maintain(ctx)), kms.ErrUnavailable)
	require.NoError(t, kit.Err(k.RotateKey(ctx, key.ID)), "the key goes on")
	hardware.Fail = nil
	require.Equal(t, []string{key.ID}, kit.Maintain(t, k).Retired)
	require.Equal(t, []string{key.ID + "/1", key.ID + "/2", key.ID + "/3"}, hardware.Destroyed)
}

// TestRetireAndRestore: no Restore brings a retired version back, in whichever order backup,
// retirement and destruction came; one of a backup that retired more retires it here, too.
func TestRetireAndRestore(t *testing.T) {
	ctx, recipient := t.Context(), kit.Root(t, 7)
	k := kmstest.New(t)
	id := kit.Tenant(t, k, "acme", 0)
	var c [][]byte
	for version := 1; version <= 4; version++ {
		ciphertext, err := k.Encrypt(ctx, id, nil, nil)
		require.NoError(t, err)
		c = append(c, ciphertext)
		if version < 4 {
			require.NoError(t, kit.Err(k.RotateKey(ctx, id)))
		}
	}
	backup := func() []byte { return kit.Backup(t, k.Manager, "acme", recipient) }
	described := func(m *kms.Manager) (before, pending int) {
		key, err := m.DescribeKey(ctx, id)
		require.NoError(t, err)
		require.Equal(t, 4, key.PrimaryVersion)
		require.Equal(t, 48, key.Rotation.VersionsLeft, "the record holds other versions than 3 and 4")
		return key.RetiredBefore, key.RetiringBefore
	}
	live := backup()
	require.NoError(t, kit.Err(k.RetireKeyVersions(ctx, id, forced(3, 7))))
	pending := backup()
	other := kit.NewService(t, k) // it goes on from before the retirement
	kit.Restore(t, other.Manager, live, recipient, nil)

	kit.Restore(t, k.Manager, live, recipient, nil)
	opensFrom(t, k.Manager, c, 3)
	for _, days := range []int{7, 1} {
		k.Clock.AdvanceDays(days)
		kit.Maintain(t, k)
	}
	over := backup()
	for _, b := range [][]byte{live, pending, over} {
		kit.Restore(t, k.Manager, b, recipient, nil)
		before, retiring := described(k.Manager)
		require.Equal(t, []int{3, 0}, []int{before, retiring})
		opensFrom(t, k.Manager, c, 3)
		versions, err := k.KeyVersions(ctx, id)
		require.NoError(t, err)
		require.Len(t, versions, 2)
	}

	// The other key store learns of it from the backup.
	opensFrom(t, other.Manager, c, 1)
	kit.Restore(t, other.Manager, over, recipient, nil)
	before, _ := described(other.Manager)
	require.Equal(t, 3, before)
	opensFrom(t, other.Manager, c, 3)
	require.Equal(t, []string{id}, kit.Maintain(t, other).Retired)

	fresh := kit.NewService(t, k)
	kit.Restore(t, fresh.Manager, over, recipient, nil)
	opensFrom(t, fresh.Manager, c, 3)
	kit.Restore(t, fresh.Manager, live, recipient, nil)
	opensFrom(t, fresh.Manager, c, 3)
}

// TestRestoreOfAPendingRetirement: a retirement that the backup has and the key here has not is
// pending again; if its date is past, and the key was changed here later, nothing is lost.
func TestRestoreOfAPendingRetirement(t *testing.T) {
	ctx, recipient := t.Context(), kit.Root(t, 7)
	k := kmstest.New(t)
	id := kit.Tenant(t, k, "acme", 0)
	c, err := k.Encrypt(ctx, id, nil, nil)
	require.NoError(t, err)
	require.NoError(t, kit.Err(k.RotateKey(ctx, id)))
	require.NoError(t, kit.Err(k.RetireKeyVersions(ctx, id, forced(2, 7))))
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	require.NoError(t, kit.Err(k.CancelRetirement(ctx, id)))
	kit.Restore(t, k.Manager, backup, recipient, nil)
	key, err := k.DescribeKey(ctx, id)
	require.NoError(t, err)
	require.Equal(t, 2, key.RetiringBefore)
	require.NoError(t, kit.Err(k.CancelRetirement(ctx, id)))
	k.Clock.AdvanceDays(8)
	kit.Restore(t, k.Manager, backup, recipient, nil)
	require.NoError(t, kit.Err(k.Decrypt(ctx, c, nil)))
}

// rotating is a key with a weekly policy, and what was told of it.
type rotating struct {
	*kmstest.KMS
	id      string
	notices []time.Time
}

func weekly(t *testing.T, most int) *rotating {
	w := &rotating{}
	w.KMS = kmstest.New(t, func(c *kms.Config) {
		c.MaxKeyVersions = most
		c.Observe = func(_ context.Context, e kms.Event) {
			if e.Notice == kms.NoticeVersionsRunOut {
				require.Equal(t, w.id, e.KeyID)
				w.notices = append(w.notices, e.Time)
			}
		}
	})
	w.id = w.MustCreateKey(t).ID
	require.NoError(t, kit.Err(w.UpdateRotationPolicy(t.Context(), w.id, 7)))
	return w
}

// week lets a day pass seven times, and has Maintain look. Each pass does what the key says.
func (w *rotating) week(t *testing.T) (rotated int) {
	ctx := t.Context()
	for range 7 {
		w.Clock.AdvanceDays(1)
		before, err := w.DescribeKey(ctx, w.id)
		require.NoError(t, err)
		report := kit.Maintain(t, w.KMS)
		due := before.Rotation.Status == kms.RotationEnabled && !before.Rotation.Next.After(w.Clock.Now())
		require.Equal(t, due, slices.Contains(report.Rotated, w.id), "%+v", before.Rotation)
		require.Equal(t, before.Rotation.Status == kms.RotationSuspended, before.Rotation.Reason != "")
		rotated += len(report.Rotated)
	}
	return rotated
}

// TestTwentyYears: a weekly policy goes on for twenty years if versions are retired; if not, it is
// suspended, and that is told weeks before. No pass of Maintain fails, and nothing that is kept
// grows for ever.
func TestTwentyYears(t *testing.T) {
	const weeks = 20 * 52
	ctx := t.Context()
	t.Run("retired", func(t *testing.T) {
		t.Parallel()
		w := weekly(t, 50)
		rotated, longest := 0, 0
		for week := range weeks {
			require.NoError(t, kit.Err(w.Encrypt(ctx, w.id, nil, nil)))
			rotated += w.week(t)
			key, err := w.DescribeKey(ctx, w.id)
			require.NoError(t, err)
			x, err := w.Explain(ctx, kms.OpRetireKeyVersions, w.id)
			require.NoError(t, err)
			if key.Rotation.VersionsLeft < 10 && x.Allowed {
				require.NoError(t, kit.Err(w.RetireKeyVersions(ctx, w.id, kms.RetireOptions{Before: key.PrimaryVersion - 5, Days: 14})))
			}
			size := len(kit.StoredValue(t, w.KMS, "usage/"+w.id)) + len(kit.StoredValue(t, w.KMS, "key/"+w.id))
			if week < 2*52 {
				longest = max(longest, size)
			}
			require.LessOrEqual(t, size, longest+500, "it grows")
		}
		require.Equal(t, weeks, rotated)
		require.Empty(t, w.notices)
		key, err := w.DescribeKey(ctx, w.id)
		require.NoError(t, err)
		require.Equal(t, weeks+1, key.PrimaryVersion)
		usage, err := w.KeyUsage(ctx, w.id)
		require.NoError(t, err)
		require.EqualValues(t, weeks, usage.Uses())
		require.Less(t, len(usage.Versions), 50)
	})
	t.Run("suspended", func(t *testing.T) {
		t.Parallel()
		w := weekly(t, 50)
		born, rotated := w.Clock.Now(), 0
		for range weeks {
			rotated += w.week(t)
		}
		require.Equal(t, 49, rotated)
		full := born.Add(50 * 7 * 24 * time.Hour) // the first rotation that does not fit
		require.Len(t, w.notices, 1)
		require.WithinDuration(t, full.Add(-28*24*time.Hour), w.notices[0], 24*time.Hour, "four weeks before")
		key, err := w.DescribeKey(ctx, w.id)
		require.NoError(t, err)
		o := key.Rotation
		require.Equal(t, []any{kms.RotationSuspended, 0, full}, []any{o.Status, o.VersionsLeft, o.Next})
		require.Contains(t, o.Reason, "50 versions")
		require.ErrorContains(t, kit.Err(w.RotateKey(ctx, w.id)), "50 versions")

		require.NoError(t, kit.Err(w.RetireKeyVersions(ctx, w.id, forced(50, 7))))
		require.Zero(t, w.week(t))
		require.Equal(t, 1, w.week(t), "the policy goes on when there is room")
		require.Len(t, w.notices, 1)
		for range 49 {
			w.week(t)
		}
		require.Len(t, w.notices, 2, "it is told again")
	})
}
