//go:build unix

package pgstore_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStopped: a process that was stopped while a key was disabled does not use it once it
// goes on: it knows that its time is over.
func TestStopped(t *testing.T) {
	t.Parallel()
	f := newFleet(t, dsn(t))
	p := f.processes[0]
	for range 3 {
		f.enable(t)
		require.NoError(t, p.Process.Signal(syscall.SIGSTOP))
		f.disable(t)
		<-time.After(fleetBound + 50*time.Millisecond)
		require.NoError(t, p.in.Encode(request{Op: "encrypt", Key: f.key, Timeout: time.Second})) // the first that it sees
		require.NoError(t, p.Process.Signal(syscall.SIGCONT))
		var a answer
		require.NoError(t, p.out.Decode(&a))
		require.Equal(t, "Disabled", a.Said)
	}
}
