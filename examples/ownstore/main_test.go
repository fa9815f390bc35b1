package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRun runs the program twice over one folder, and once without.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"-dir", dir, "hello"}, {"-dir", dir, "hello"}, {"hello"}} {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), &out, args))
		require.Contains(t, out.String(), "decrypted, from the store opened again: hello\n")
	}
}
