package kmstest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestYear: a year of a key takes no time. Its clock begins where the package says, and moves only
// when it is moved.
func TestYear(t *testing.T) {
	ctx, begun := t.Context(), time.Now()
	k := kmstest.New(t)
	start := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	require.Equal(t, start, k.Clock.Now())
	key := k.MustCreateKey(t)
	require.Equal(t, kms.Enabled, key.State)
	require.True(t, start.Equal(key.CreatedAt))
	ciphertext, err := k.Encrypt(ctx, key.ID, []byte("x"), nil)
	require.NoError(t, err)
	_, err = k.DisableKey(ctx, key.ID)
	require.NoError(t, err)
	key, err = k.ScheduleKeyDeletion(ctx, key.ID, 366)
	require.NoError(t, err)
	require.True(t, start.AddDate(0, 0, 366).Equal(key.DeletionDate))

	k.Clock.AdvanceDays(365)
	report, err := k.Maintain(ctx)
	require.NoError(t, err)
	require.Empty(t, report.Purged)
	_, err = k.CancelKeyDeletion(ctx, key.ID)
	require.NoError(t, err)
	_, err = k.ScheduleKeyDeletion(ctx, key.ID, 7)
	require.NoError(t, err)
	k.Clock.AdvanceDays(7)
	report, err = k.Maintain(ctx) // PurgeDelay is none
	require.NoError(t, err)
	require.Equal(t, []string{key.ID}, report.Purged)
	_, err = k.Decrypt(ctx, ciphertext, nil)
	require.ErrorIs(t, err, kms.ErrNotFound)
	require.Less(t, time.Since(begun), time.Minute)
}

// TestClock: the clock is set, and goes forward and back.
func TestClock(t *testing.T) {
	clock := kmstest.New(t).Clock
	start := clock.Now()
	clock.Advance(time.Hour)
	require.Equal(t, start.Add(time.Hour), clock.Now())
	clock.Advance(-2 * time.Hour)
	require.Equal(t, start.Add(-time.Hour), clock.Now())
	clock.AdvanceDays(2)
	require.Equal(t, start.Add(47*time.Hour), clock.Now())
	clock.AdvanceDays(-2)
	require.Equal(t, start.Add(-time.Hour), clock.Now())
	clock.Set(start.AddDate(1, 0, 0))
	require.Equal(t, start.AddDate(1, 0, 0), clock.Now())
}

// TestStoreFails: the store fails when the test says so. A Manager goes on with the keys that it
// used, and another begins with none.
func TestStoreFails(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	key := k.MustCreateKey(t)
	ciphertext, err := k.Encrypt(ctx, key.ID, []byte("x"), nil)
	require.NoError(t, err)
	other := k.Another(t)
	down := errors.New("connection reset")
	k.Store.OnGet(func(string) error { return down })
	plain, err := k.Decrypt(ctx, ciphertext, nil)
	require.NoError(t, err)
	require.Equal(t, []byte("x"), plain)
	_, err = other.Decrypt(ctx, ciphertext, nil)
	require.ErrorIs(t, err, kms.ErrUnavailable)
	require.ErrorIs(t, err, down)
	k.Store.OnGet(nil)
	_, err = other.Decrypt(ctx, ciphertext, nil)
	require.NoError(t, err)
}

// TestGivenStore: a Store that is given holds the keys, and fails on demand, too.
func TestGivenStore(t *testing.T) {
	memory := new(keystore.Memory)
	k := kmstest.New(t, func(c *kms.Config) { c.Store = memory })
	require.Same(t, memory, k.Store.Unwrap())
	require.Same(t, k.Store, k.ConfigWith().Store)
	key := k.MustCreateKey(t)
	_, err := memory.Get(t.Context(), "key/"+key.ID)
	require.NoError(t, err)
	k.Store.FailPuts(1, false, errors.New("the disk is full"))
	_, err = k.CreateKey(t.Context(), nil)
	require.ErrorIs(t, err, kms.ErrUnavailable)
	k.MustCreateKey(t)
}

// TestAnother: another Manager has the same keys, and what is changed of its Config is its own.
func TestAnother(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, func(c *kms.Config) { c.MaxKeyVersions = 7 })
	key := k.MustCreateKey(t)
	denied := errors.New("not today")
	other := k.Another(t, func(c *kms.Config) {
		require.Equal(t, 7, c.MaxKeyVersions)
		c.Authorize = func(context.Context, kms.Request) error { return denied }
	})
	_, err := other.DescribeKey(ctx, key.ID)
	require.ErrorIs(t, err, denied)
	got, err := k.Another(t).DescribeKey(ctx, key.ID)
	require.NoError(t, err)
	require.Equal(t, key, got)

	changed := k.ConfigWith(func(c *kms.Config) { c.MaxKeyVersions = 8 })
	require.Equal(t, 8, changed.MaxKeyVersions)
	require.Equal(t, 7, k.ConfigWith().MaxKeyVersions)
	require.Same(t, k.Root, changed.Root)
}

// TestServicesAreApart: services share no keys and no clock, and the roots of two tests differ.
func TestServicesAreApart(t *testing.T) {
	k := kmstest.New(t)
	key := k.MustCreateKey(t)
	k.Clock.AdvanceDays(1)
	t.Run("another test", func(t *testing.T) {
		other := kmstest.New(t)
		require.NotEqual(t, k.Clock.Now(), other.Clock.Now())
		_, err := other.DescribeKey(t.Context(), key.ID)
		require.ErrorIs(t, err, kms.ErrNotFound)
		_, err = kms.Open(t.Context(), k.ConfigWith(func(c *kms.Config) { c.Root = other.Root }))
		require.ErrorIs(t, err, kms.ErrRoot)
	})
}

// TestFailures: what goes wrong ends the test that asked, and says what it was.
func TestFailures(t *testing.T) {
	k := kmstest.New(t)
	for _, broken := range []struct {
		says string
		part func(t testing.TB)
	}{
		{"kmstest: opening the Manager: ", func(t testing.TB) { kmstest.New(t, func(c *kms.Config) { c.Root = nil }) }},
		{"kmstest: opening the Manager: ", func(t testing.TB) { k.Another(t, func(c *kms.Config) { c.Store = nil }) }},
		{"kmstest: CreateKey: ", func(t testing.TB) {
			k.Store.FailPuts(1, false, errors.New("the disk is full"))
			k.MustCreateKey(t)
		}},
	} {
		require.Contains(t, (&failing{TB: t}).run(broken.part), broken.says)
	}
}

// A failing test remembers what it failed of, and lets the test around it go on.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// run runs a part of a test to its end, and returns what it failed of.
func (f *failing) run(part func(testing.TB)) string {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		part(f)
	}()
	<-ended
	return f.said
}
