package pgstore_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/pgtest"
	"github.com/keyhold/kms/keystore/internal/storetest"
	"github.com/keyhold/kms/keystore/pgstore"
)

const fleetBound = 500 * time.Millisecond

// A fleet is several processes that have a key store in common.
type fleet struct {
	*kms.Manager // of this process
	what         serving
	processes    []*child
	key          string
}

func newFleet(t *testing.T, dsn string) *fleet {
	f := &fleet{what: serving{newTable().Table, fleetBound}}
	f.Manager = service(t, dsn, f.what)
	key, err := f.CreateKey(t.Context(), nil)
	require.NoError(t, err)
	f.key = key.ID
	for range 3 {
		p := startChild(t, "service", dsn)
		require.Equal(t, "ready", ask[string](t, p, f.what))
		f.processes = append(f.processes, p)
	}
	return f
}

// use has a process use the key.
func (f *fleet) use(t *testing.T, p *child) answer {
	t.Helper()
	a := ask[answer](t, p, request{Op: "encrypt", Key: f.key, Timeout: time.Second})
	require.LessOrEqual(t, time.Duration(a.Ended-a.Begun), time.Second+faultGrace)
	return a
}

// obeyed waits until all processes refuse the key, and returns for each how long after an
// instant the last use began that was not refused.
func (f *fleet) obeyed(t *testing.T, since time.Time) (late []time.Duration) {
	t.Helper()
	for _, p := range f.processes {
		last := since.UnixNano()
		for {
			a := f.use(t, p)
			if a.Said == "Disabled" {
				break
			}
			if a.Said != "?" {
				require.Equal(t, "ok", a.Said)
				last = max(last, a.Begun)
			}
		}
		late = append(late, time.Duration(last-since.UnixNano()))
		require.LessOrEqual(t, late[len(late)-1], fleetBound)
	}
	return late
}

func (f *fleet) disable(t *testing.T) (returned time.Time) {
	_, err := f.DisableKey(t.Context(), f.key)
	require.NoError(t, err)
	return time.Now()
}

// enable has all processes use the key again.
func (f *fleet) enable(t *testing.T) {
	_, err := f.EnableKey(t.Context(), f.key)
	require.NoError(t, err)
	for _, p := range f.processes {
		storetest.Until(func() bool { return f.use(t, p).Said == "ok" })
	}
}

// TestFleet: what one process disables the others refuse within the bound: as a rule, and
// when those who listen were cut off just before.
func TestFleet(t *testing.T) {
	t.Parallel()
	f, conn := newFleet(t, dsn(t)), connect(t, dsn(t))
	opts := &pgstore.Options{Table: f.what.Table}
	for _, killed := range []bool{false, true} {
		var late []time.Duration
		for range 5 {
			f.enable(t)
			storetest.Until(func() bool { return listeners(t, conn, opts) == 4 })
			if killed {
				execute(t, conn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
					WHERE query = 'LISTEN "keyhold_' || '"`+opts.Table+`"'::regclass::oid || '"'`)
			}
			late = append(late, f.obeyed(t, f.disable(t))...)
		}
		slices.Sort(late)
		t.Logf("listeners killed: %v; obeyed after %v in the median, %v at worst", killed, late[len(late)/2], late[len(late)-1])
	}
}

// TestServerKilled: without a server keys are used until the bound is over, and then
// refused; and when it is there again everything goes on, and nothing was lost.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	server := pgtest.New(t)
	f := newFleet(t, server.DSN(server.Address()))
	for range 3 {
		f.enable(t)
		returned := f.disable(t)
		server.Stop(t, "immediate")
		down := time.Now()
		for _, p := range f.processes {
			for said := ""; said != "?" && said != "Disabled"; {
				a := f.use(t, p)
				if said = a.Said; said == "ok" {
					require.LessOrEqual(t, time.Duration(a.Begun-returned.UnixNano()), fleetBound)
				}
			}
		}
		<-time.After(fleetBound - time.Since(down))
		require.Equal(t, "?", f.use(t, f.processes[0]).Said, "the bound is over")
		server.Start(t)
		for _, p := range f.processes {
			begun := time.Now()
			storetest.Until(func() bool { return f.use(t, p).Said == "Disabled" || time.Since(begun) > faultHeals })
			require.Equal(t, "Disabled", f.use(t, p).Said)
		}
	}
}
