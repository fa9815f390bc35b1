package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDesignWalks: the section Walks of docs/design.md tells what the code does.
func TestDesignWalks(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/design.md")
	require.NoError(t, err)
	walks, err := parse(string(page))
	require.NoError(t, err)
	var names []string
	for _, w := range walks {
		names = append(names, w.name)
	}
	require.Equal(t, []string{"GenerateDataKey", "Decrypt", "ScheduleKeyDeletion", "A store item"}, names)
	for _, wrong := range graphOf(t, "../..").compare(walks, mostFiles) {
		t.Error(wrong)
	}
}
