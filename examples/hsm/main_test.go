package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/keyhold/kms/internal/notrun"
	"github.com/keyhold/kms/internal/testtoken"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(notrun.Main(m)) }

// TestRun: twice, with the same keys.
func TestRun(t *testing.T) {
	tk := testtoken.Any(t)
	t.Setenv("HSM_PIN", tk.PIN)
	dir := t.TempDir()
	for range 2 {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), &out, []string{"-module", tk.Module, "-token", tk.Label, "-dir", dir}))
		require.Contains(t, out.String(), `decrypted: "secret"`)
		require.Contains(t, out.String(), "Signed in the token")
		require.Contains(t, out.String(), "does not know: 0")
	}
	require.NoError(t, os.Unsetenv("HSM_PIN"))
	require.ErrorContains(t, run(t.Context(), &bytes.Buffer{}, []string{"-module", tk.Module, "-token", tk.Label, "-dir", dir}), "set HSM_PIN")
}
