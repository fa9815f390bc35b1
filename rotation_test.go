package kms_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestRotate: the new version encrypts, every older one still decrypts, by every Manager,
// and the key is the same key.
func TestRotate(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		other := k.Another(t)
		id := k.MustCreateKey(t).ID
		require.NoError(t, k.CreateAlias(ctx, "alias/a", id))
		var old [][]byte
		for version := 1; version <= 5; version++ {
			c, err := other.Encrypt(ctx, "alias/a", []byte{byte(version)}, nil)
			require.NoError(t, err)
			info, err := kms.Inspect(c)
			require.NoError(t, err)
			require.Equal(t, kms.CiphertextInfo{KeyID: id, KeyVersion: version, Protection: kms.ProtectionSoftware}, info)
			old = append(old, c)
			k.Clock.AdvanceDays(1)
			key, err := k.RotateKey(ctx, id)
			require.NoError(t, err)
			require.Equal(t, version+1, key.PrimaryVersion)
			require.Equal(t, kms.Rotation{Last: k.Clock.Now(), VersionsLeft: 49 - version}, key.Rotation)
		}
		for _, m := range []*kms.Manager{k.Manager, other, k.Another(t)} {
			for i, c := range old {
				plain, err := m.Decrypt(ctx, c, nil)
				require.NoError(t, err)
				require.Equal(t, []byte{byte(i + 1)}, plain)
				stale, err := m.NeedsRewrap(ctx, c)
				require.NoError(t, err)
				require.True(t, stale)
			}
		}
		c, err := k.ReEncrypt(ctx, old[0], nil, id, nil)
		require.NoError(t, err)
		stale, err := k.NeedsRewrap(ctx, c)
		require.NoError(t, err)
		require.False(t, stale)

		moved := slices.Clone(old[0]) // another version's name on it
		moved[22] = 2
		require.ErrorIs(t, kit.Err(k.Decrypt(ctx, moved, nil)), kms.ErrCiphertext)
		moved[22] = 99
		require.ErrorIs(t, kit.Err(k.Decrypt(ctx, moved, nil)), kms.ErrCiphertext)
		require.ErrorIs(t, kit.Err(k.NeedsRewrap(ctx, moved)), kms.ErrCiphertext)
		require.ErrorIs(t, kit.Err(k.NeedsRewrap(ctx, nil)), kms.ErrCiphertext)

		versions, err := k.KeyVersions(ctx, id)
		require.NoError(t, err)
		require.Len(t, versions, 6)
		for i, v := range versions {
			require.Equal(t, kms.KeyVersion{KeyID: id, Version: i + 1, CreatedAt: v.CreatedAt, Primary: i == 5}, v)
		}
	})
}

// TestRotateTogether: of many who rotate at once each gives a version of its own.
func TestRotateTogether(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		id := k.MustCreateKey(t).ID
		var all sync.WaitGroup
		for range 8 {
			m := k.Another(t)
			all.Go(func() {
				if _, err := m.RotateKey(t.Context(), id); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		versions, err := k.KeyVersions(t.Context(), id)
		require.NoError(t, err)
		require.Len(t, versions, 9)
		require.Equal(t, 9, versions[8].Version)
	})
}

// TestVersionLimit: the key is full, says so, and goes on as it is.
func TestVersionLimit(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		id := k.MustCreateKey(t).ID
		require.NoError(t, kit.Err(k.RotateKey(ctx, id)))
		require.NoError(t, kit.Err(k.RotateKey(ctx, id)))
		before := kit.StoredValue(t, k, "key/"+id)
		err := kit.Err(k.RotateKey(ctx, id))
		require.ErrorIs(t, err, kms.ErrLimit)
		require.Equal(t, "Rejected.LimitExceeded", kms.Code(err))
		require.Equal(t, before, kit.StoredValue(t, k, "key/"+id))
		require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))
	}, func(c *kms.Config) { c.MaxKeyVersions = 3 })
}

// TestRotationPolicy: followed by Maintain to the nanosecond, once, by one of many;
// suspended while the key is not Enabled; overdue: by the next pass.
func TestRotationPolicy(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		id := k.MustCreateKey(t).ID
		born := k.Clock.Now()
		key, err := k.UpdateRotationPolicy(ctx, id, 30)
		require.NoError(t, err)
		require.Equal(t, kms.Rotation{Status: kms.RotationEnabled, Days: 30, Last: born, Next: born.Add(30 * 24 * time.Hour), VersionsLeft: 49}, key.Rotation)

		k.Clock.AdvanceDays(30)
		k.Clock.Advance(-1)
		require.Empty(t, kit.Maintain(t, k).Rotated)
		k.Clock.Advance(1)
		reports := make(chan kms.Report, 8)
		for range cap(reports) {
			m := k.Another(t)
			go func() {
				report, err := m.Maintain(context.Background())
				if err != nil {
					t.Error(err)
				}
				reports <- report
			}()
		}
		rotated := 0
		for range cap(reports) {
			rotated += len((<-reports).Rotated)
		}
		require.Equal(t, 1, rotated)

		require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
		k.Clock.AdvanceDays(100)
		require.Empty(t, kit.Maintain(t, k).Rotated)
		key, err = k.DescribeKey(ctx, id)
		require.NoError(t, err)
		require.Equal(t, kms.RotationSuspended, key.Rotation.Status)
		require.NoError(t, kit.Err(k.EnableKey(ctx, id)))
		require.Equal(t, []string{id}, kit.Maintain(t, k).Rotated, "overdue")

		require.NoError(t, kit.Err(k.UpdateRotationPolicy(ctx, id, 365)))
		k.Clock.AdvanceDays(10)
		require.Empty(t, kit.Maintain(t, k).Rotated)
		require.NoError(t, kit.Err(k.UpdateRotationPolicy(ctx, id, 7)), "which is over already")
		require.Equal(t, []string{id}, kit.Maintain(t, k).Rotated)
		key, err = k.UpdateRotationPolicy(ctx, id, 0)
		require.NoError(t, err)
		require.Equal(t, kms.RotationDisabled, key.Rotation.Status)
		k.Clock.AdvanceDays(1000)
		require.Empty(t, kit.Maintain(t, k).Rotated)

		for _, days := range []int{math.MinInt, -1, 1, 6, 366, math.MaxInt} {
			require.ErrorIs(t, kit.Err(k.UpdateRotationPolicy(ctx, id, days)), kms.ErrInvalid)
		}
	})
}

// TestRewrap: stopped at each place and resumed, it ends with nothing left under an older
// version, does nothing twice, and leaves other keys' ciphertexts alone.
func TestRewrap(t *testing.T) {
	kit.OnStores(t, func(t *testing.T, k *kmstest.KMS) {
		ctx := t.Context()
		id, foreign := k.MustCreateKey(t).ID, k.MustCreateKey(t).ID
		s := kit.Shelf{}
		for i := range 30 {
			of := id
			if i%10 == 9 {
				of = foreign
			}
			if i == 10 || i == 20 {
				require.NoError(t, kit.Err(k.RotateKey(ctx, id)))
			}
			ec := kms.EncryptionContext{"n": fmt.Sprint(i)}
			c, err := k.Encrypt(ctx, of, []byte{byte(i)}, ec)
			require.NoError(t, err)
			s[fmt.Sprintf("%02d", i)] = kms.Wrapped{ID: fmt.Sprintf("%02d", i), Ciphertext: c, Context: ec}
		}
		full := errors.New("disk full")
		var report kms.RewrapReport
		rewrapped, told := 0, 0
		for stops := 0; !report.Complete; stops++ {
			left := 5
			var err error
			report, err = k.Rewrap(ctx, id, s.Items, func(ctx context.Context, w kms.Wrapped, c []byte) error {
				if left--; left < 0 {
					return full
				}
				return s.Put(ctx, w, c)
			}, &kms.RewrapOptions{After: report.Last, PerSecond: 10_000, Progress: func(kms.RewrapReport) { told++ }})
			require.Equal(t, report.Complete, err == nil)
			if err != nil {
				require.ErrorIs(t, err, full)
			}
			rewrapped += report.Rewrapped
			require.Less(t, stops, 10)
		}
		require.Equal(t, 18, rewrapped)
		require.Equal(t, 30, told)
		for i := range 30 {
			w := s[fmt.Sprintf("%02d", i)]
			plain, err := k.Decrypt(ctx, w.Ciphertext, w.Context)
			require.NoError(t, err)
			require.Equal(t, []byte{byte(i)}, plain)
			stale, err := k.NeedsRewrap(ctx, w.Ciphertext)
			require.NoError(t, err)
			require.False(t, stale)
		}
		report, err := k.Rewrap(ctx, id, s.Items, s.Put, nil)
		require.NoError(t, err)
		require.Equal(t, kms.RewrapReport{KeyID: id, Version: 3, Current: 27, Others: 3, Last: "29", Complete: true}, report)

		s["30"] = kms.Wrapped{ID: "30", Ciphertext: []byte("noise")}
		report, err = k.Rewrap(ctx, id, s.Items, s.Put, nil)
		require.ErrorIs(t, err, kms.ErrCiphertext)
		require.Equal(t, "29", report.Last)
		require.ErrorIs(t, kit.Err(k.Rewrap(ctx, "alias/nobody", s.Items, s.Put, nil)), kms.ErrNotFound)
	})
}

// TestRewrapEnds: a Rewrap that keeps its pace ends with its context, at once and between two, also
// among ciphertexts of another system; and what it did not do the next run does.
func TestRewrapEnds(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			k, old := kit.OldIn(t, "acme", true)
			all := kit.Shelf{}
			for _, id := range []string{"a", "b", "c"} {
				w := kms.Wrapped{ID: id, Ciphertext: slices.Clone(old.Ciphertexts[0]), Context: old.EC}
				if !foreign {
					var err error
					w.Ciphertext, err = k.Encrypt(t.Context(), old.ID, []byte("old"), old.EC)
					require.NoError(t, err)
				}
				all[id] = w
			}
			require.NoError(t, kit.Err(k.RotateKey(t.Context(), old.ID)))
			begun := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			report, err := k.Rewrap(ctx, old.ID, all.Items, all.Put, &kms.RewrapOptions{PerSecond: 1})
			require.Equal(t, []string{"ErrCanceled"}, kit.Conditions(err))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, 2500*time.Millisecond, time.Since(begun))
			require.Equal(t, kms.RewrapReport{KeyID: old.ID, Version: 2, Rewrapped: 2, Last: "b"}, report)
			report, err = k.Rewrap(t.Context(), old.ID, all.Items, all.Put, &kms.RewrapOptions{After: report.Last})
			require.NoError(t, err)
			require.Equal(t, kms.RewrapReport{KeyID: old.ID, Version: 2, Rewrapped: 1, Last: "c", Complete: true}, report)
		})
	}
}

// TestRewrapStopsAtDamage: a ciphertext of another system that does not open stops a Rewrap before it, as
// one of this service does.
func TestRewrapStopsAtDamage(t *testing.T) {
	k, old := kit.OldIn(t, "acme", true)
	own, err := k.Encrypt(t.Context(), old.ID, nil, nil)
	require.NoError(t, err)
	require.NoError(t, kit.Err(k.RotateKey(t.Context(), old.ID)))
	for _, c := range [][]byte{old.Ciphertexts[0], own} {
		damaged := slices.Clone(c)
		damaged[len(damaged)-1] ^= 1
		all := kit.Shelf{"a": {ID: "a", Ciphertext: damaged, Context: old.EC}}
		report, err := k.Rewrap(t.Context(), old.ID, all.Items, all.Put, nil)
		require.Equal(t, []string{"ErrCiphertext"}, kit.Conditions(err))
		require.Equal(t, kms.RewrapReport{KeyID: old.ID, Version: 2}, report)
		require.Equal(t, damaged, all["a"].Ciphertext)
	}
}
