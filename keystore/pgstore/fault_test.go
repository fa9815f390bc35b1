package pgstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/pgtest"
)

// What a fleet in these tests promises, and how late a call may end after its deadline on
// a machine that has other things to do.
const (
	faultBound = 300 * time.Millisecond
	faultGrace = 250 * time.Millisecond
	faultHeals = 5 * time.Second
)

// TestNetworkFaults: whatever the network between a process and the server does, every call
// ends by its deadline, nothing stale is used after the bound, and once the network is
// whole the process goes on by itself.
func TestNetworkFaults(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault{"cut": cut, "stalled": stalled, "half closed": halfClosed, "a byte a second": dripping, "lost": lost} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Shared(t)
			what := serving{newTable().Table, faultBound}
			near := service(t, dsn(t), what)
			p := newProxy(t, server.Address())
			far := service(t, server.DSN(p.address()), what)
			key, err := near.CreateKey(t.Context(), nil)
			require.NoError(t, err)
			for range 2 {
				require.NoError(t, recovers(t, far, key.ID, nil))
				p.set(f)
				_, err := near.DisableKey(t.Context(), key.ID)
				require.NoError(t, err)
				unreachable(t, far, key.ID, time.Now())
				p.set(whole)
				require.NoError(t, recovers(t, far, key.ID, kms.ErrDisabled))
				_, err = near.EnableKey(t.Context(), key.ID)
				require.NoError(t, err)
			}
		})
	}
}

// TestGarbled: whatever a server seems to say, calls end, and the process lives. When it
// speaks clearly again everything goes on.
func TestGarbled(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	what := serving{newTable().Table, 0}
	near := service(t, dsn(t), what)
	p := newProxy(t, server.Address())
	far := service(t, server.DSN(p.address(), "default_query_exec_mode=exec"), what)
	key, err := near.CreateKey(t.Context(), nil)
	require.NoError(t, err)
	failed := 0
	for range 20 {
		p.set(garbled)
		for n := range 20 {
			err := timed(t, faultBound, func(ctx context.Context) error {
				switch n % 4 {
				case 0:
					_, err := far.Encrypt(ctx, key.ID, nil, nil)
					return err
				case 1:
					_, err := far.SetDescription(ctx, key.ID, "garbled")
					return err
				case 2:
					_, err := far.CreateKey(ctx, nil)
					return err
				default:
					_, err := far.Maintain(ctx)
					return err
				}
			})
			if err != nil {
				failed++
			}
		}
		p.set(renewed)
		require.NoError(t, recovers(t, far, key.ID, nil))
	}
	require.NotZero(t, failed)
	key, err = near.DescribeKey(t.Context(), key.ID)
	require.NoError(t, err)
	require.Equal(t, kms.Enabled, key.State)
}

// noAnswer says that the store did not answer, before its time was up or that of the call.
func noAnswer(err error) bool {
	return errors.Is(err, kms.ErrUnavailable) || errors.Is(err, kms.ErrCanceled)
}

// unreachable uses a key that was disabled, by a service that cannot know, until well after
// the bound, and changes it.
func unreachable(t *testing.T, far *kms.Manager, id string, disabled time.Time) {
	t.Helper()
	refused := 0
	for time.Since(disabled) < 3*faultBound {
		begun := time.Now()
		err := timed(t, faultBound/3, func(ctx context.Context) error {
			_, err := far.Encrypt(ctx, id, nil, nil)
			return err
		})
		switch {
		case err == nil:
			require.LessOrEqual(t, begun.Sub(disabled), faultBound, "a stale key was used")
		case noAnswer(err), errors.Is(err, kms.ErrDisabled):
			refused++
		default:
			require.NoError(t, err)
		}
	}
	require.NotZero(t, refused)
	for range 3 {
		err := timed(t, faultBound/3, func(ctx context.Context) error {
			_, err := far.SetDescription(ctx, id, "from afar")
			return err
		})
		if err != nil {
			require.True(t, noAnswer(err), "%v", err)
		}
	}
}

// timed makes a call that must end by its deadline.
func timed(t *testing.T, timeout time.Duration, call func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	begun := time.Now()
	err := call(ctx)
	require.LessOrEqual(t, time.Since(begun), timeout+faultGrace, "a call ended late")
	return err
}

// recovers waits until the uses of a key give one answer, for as long as a service may take.
func recovers(t *testing.T, m *kms.Manager, id string, want error) error {
	t.Helper()
	var err error
	for begun := time.Now(); time.Since(begun) < faultHeals; {
		err = timed(t, time.Second, func(ctx context.Context) error {
			_, err := m.Encrypt(ctx, id, nil, nil)
			return err
		})
		if errors.Is(err, want) {
			return nil
		}
		if want == nil && err != nil {
			require.True(t, noAnswer(err) || errors.Is(err, kms.ErrDisabled), "%v", err)
		}
	}
	return errors.Join(errors.New("it did not recover"), err)
}

// service opens a service for this test.
func service(t *testing.T, dsn string, what serving) *kms.Manager {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	m, s, err := newService(ctx, dsn, what)
	require.NoError(t, err)
	t.Cleanup(func() {
		cancel()
		require.NoError(t, s.Close())
	})
	return m
}
