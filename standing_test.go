package kms_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// TestStanding: what counts as allowed at any time is allowed at every time, also by a record that
// has any date of which a record may have; and without one, what is allowed counts as that.
func TestStanding(t *testing.T) {
	t.Parallel()
	date := time.Unix(2e9, 0)
	times := []time.Time{time.Unix(0, 0), time.Unix(1e9, 0), date.Add(-1), date, date.Add(1), date.AddDate(300, 0, 0)}
	dates := append(kms.RecordDates(), "")
	require.Contains(t, dates, "DeleteAt")
	cells, standing := 0, 0
	for op := range kms.NumOps {
		if !kms.HasRow(op) {
			continue
		}
		for s := kms.PendingImport; s <= kms.Deleted; s++ {
			for _, name := range dates {
				always, allowedAt := kms.Standing(op, s, name, date)
				for _, now := range times {
					cells++
					if always {
						standing++
						require.True(t, allowedAt(now), "%s of a key that is %s, %s, %s", op, s, name, now)
					}
				}
				if name == "" && s == kms.Enabled && kms.IsUse(op) {
					require.True(t, always, op)
				}
				require.False(t, always && !kms.IsUse(op), op)
			}
		}
	}
	t.Logf("%d cells, %d of them standing", cells, standing)
	require.NotZero(t, standing)
}

// TestClockReadings: a use reads the clock at most once, whatever the key is.
func TestClockReadings(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var readings atomic.Int64
	begin := time.Unix(1e9, 0)
	m, err := kms.Open(ctx, kms.Config{Store: new(keystore.Memory), Root: kit.Root(t, 1), Software: software.New(),
		Now: func() time.Time { readings.Add(1); return begin }})
	require.NoError(t, err)
	plain, err := m.CreateKey(ctx, nil)
	require.NoError(t, err)
	dim, err := m.CreateKey(ctx, nil)
	require.NoError(t, err)
	_, err = m.SetBrownout(ctx, dim.ID, 0.000001, begin.Add(time.Hour))
	require.NoError(t, err)
	tenant, err := m.CreateInstance(ctx, &kms.InstanceOptions{ExpiresAt: begin.Add(time.Hour)})
	require.NoError(t, err)
	elsewhere, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Instance: tenant.ID})
	require.NoError(t, err)
	for _, id := range []string{plain.ID, dim.ID, elsewhere.ID} {
		sealed, err := m.Encrypt(ctx, id, nil, nil)
		require.NoError(t, err)
		readings.Store(0)
		_, err = m.Decrypt(ctx, sealed, nil)
		require.NoError(t, err)
		require.EqualValues(t, 1, readings.Load())
	}
}

// TestUsesAreDated: to the second, while Run runs and when it has ended.
func TestUsesAreDated(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	maintained := make(chan struct{}, 10)
	m, err := kms.Open(ctx, kms.Config{Store: new(keystore.Memory), Root: kit.Root(t, 1), Software: software.New(),
		Observe: func(_ context.Context, e kms.Event) {
			if e.Op == kms.OpMaintain {
				maintained <- struct{}{}
			}
		}})
	require.NoError(t, err)
	key, err := m.CreateKey(ctx, nil)
	require.NoError(t, err)
	dated := func() {
		t.Helper()
		before := time.Now()
		_, err := m.Encrypt(ctx, key.ID, nil, nil)
		require.NoError(t, err)
		u, err := m.KeyUsage(ctx, key.ID)
		require.NoError(t, err)
		require.False(t, u.Last().Last.Before(before.Add(-time.Minute)), "%s is long before %s", u.Last().Last, before)
		require.False(t, u.Last().Last.After(time.Now()))
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- m.Run(running) }()
	<-maintained
	dated()
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
	dated()

	k := kmstest.New(t) // whose clock is not the machine's
	key = k.MustCreateKey(t)
	running, stop = context.WithCancel(ctx)
	go func() { ended <- k.Run(running) }()
	k.Clock.Advance(72 * time.Hour)
	_, err = k.Encrypt(ctx, key.ID, nil, nil)
	require.NoError(t, err)
	u, err := k.KeyUsage(ctx, key.ID)
	require.NoError(t, err)
	require.Equal(t, k.Clock.Now().Unix(), u.Last().Last.Unix())
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
}
