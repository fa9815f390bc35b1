package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/pgtest"
)

// TestMain lets this binary be one of the other processes.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "-use") {
		main()
		return
	}
	os.Exit(pgtest.Main(m))
}

// TestRun: two processes refuse what a third disabled, in time; and so again, over the same
// table.
func TestRun(t *testing.T) {
	server := pgtest.Shared(t)
	dir := t.TempDir()
	for range 2 {
		var out strings.Builder
		require.NoError(t, run(t.Context(), &out, []string{"-dsn", server.DSN(server.Address()), "-dir", dir}))
		require.Equal(t, 2, strings.Count(out.String(), "refuses it"))
		t.Log("\n" + out.String())
	}
}
