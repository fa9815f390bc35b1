package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMutantsApply: every mutant still fits the code that it breaks, and names tests that there
// are. Whether they notice is told by make mutants.
func TestMutantsApply(t *testing.T) {
	require.Len(t, list, 35)
	names := map[string]bool{}
	for _, m := range list {
		t.Run(m.name, func(t *testing.T) {
			content, err := os.ReadFile(filepath.Join("..", "..", m.file))
			require.NoError(t, err)
			broken, err := m.apply(content)
			require.NoError(t, err)
			require.NotEqual(t, content, broken)
			require.NotEmpty(t, m.why)
			require.False(t, names[m.name])
			names[m.name] = true
			require.True(t, named(t, m), "no test of %s is called %s", m.pkg, m.run)
		})
	}
	_, err := mutant{name: "twice", old: "a"}.apply([]byte("a a"))
	require.Error(t, err)
}

// named tells whether a package has a test that a mutant names.
func named(t *testing.T, m mutant) bool {
	files, err := filepath.Glob(filepath.Join("..", "..", m.pkg, "*_test.go"))
	require.NoError(t, err)
	for _, word := range regexp.MustCompile(`\w+`).FindAllString(m.run, -1) {
		found := word == "Memory"
		for _, file := range files {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			found = found || regexp.MustCompile(`(?m)^func `+word).Match(content)
		}
		if !found {
			return false
		}
	}
	return len(files) > 0
}
