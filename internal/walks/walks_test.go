package main

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const fixture = "testdata/fixture"

func graphOf(t *testing.T, folder string) *graph {
	t.Helper()
	p, err := load(folder)
	require.NoError(t, err)
	g, err := newGraph(p)
	require.NoError(t, err)
	return g
}

// TestReaches: which functions reach outside, and by which call; each way to call is one row.
func TestReaches(t *testing.T) {
	t.Parallel()
	g := graphOf(t, fixture)
	for name, walked := range map[string][]string{
		"Manager.Direct":         {"Manager.Direct"},
		"Manager.Steps":          {"Manager.Steps", "Manager.load", "Manager.open", "fresh.Cache.Look"},
		"Manager.Nothing":        nil,
		"Manager.harmless":       nil,
		"keystore.Memory.Get":    nil,
		"fresh.Once":             nil,
		"Manager.Literal":        {"Manager.Literal", "Manager.open"},
		"Manager.PassedLiteral":  {"Manager.PassedLiteral", "Manager.open"},
		"Manager.PassedMethod":   {"Manager.PassedMethod", "Manager.number", "Manager.open"},
		"Manager.PassedFunction": {"Manager.PassedFunction", "generic", "elsewhere", "Manager.open"},
		"Manager.PassedOutside":  {"Manager.PassedOutside"},
		"Manager.Loop":           {"Manager.Loop", "Manager.all"},
		"Manager.Embedded":       {"Manager.Embedded"},
		"Manager.Closes":         {"Manager.Closes"},
		"Constrained":            {"Constrained"},
		"Manager.Expression":     {"Manager.Expression", "Manager.open"},
		"Manager.Circle":         {"Manager.Circle", "Manager.back", "Manager.open"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, g.byName, name)
			w, err := g.walk(name)
			if walked == nil {
				require.ErrorContains(t, err, "reaches nothing outside")
				return
			}
			require.NoError(t, err)
			var names []string
			for _, f := range w.functions {
				names = append(names, f.name)
			}
			require.Equal(t, walked, names)
		})
	}
}

// TestOutside: the outside calls are named by the interface that they are of.
func TestOutside(t *testing.T) {
	t.Parallel()
	g := graphOf(t, fixture)
	for name, calls := range map[string][]string{
		"Manager.Direct":        {"keystore.Store.Get"},
		"Manager.all":           {"keystore.Store.List"},
		"Manager.open":          {"Root.Seal"},
		"Manager.Embedded":      {"keystore.Store.Get"},
		"Manager.PassedOutside": {"keystore.Store.Get"},
		"Manager.Closes":        {"provider.Key.Close"},
		"Constrained":           {"Root.Seal"},
		"Manager.Steps":         nil,
	} {
		require.Equal(t, calls, g.byName[name].outside, name)
	}
}

// TestStops: the files of a walk are those in which its functions are declared, and what is behind
// a door is not among them.
func TestStops(t *testing.T) {
	t.Parallel()
	g := graphOf(t, fixture)
	w, err := g.walk("Manager.Steps")
	require.NoError(t, err)
	require.Equal(t, []stop{
		{"service.go", []string{"Manager.Steps"}},
		{"ways.go", []string{"Manager.load", "Manager.open"}},
		{"internal/fresh/fresh.go", []string{"fresh.Cache.Look"}},
	}, w.stops())

	w, err = g.walk("Manager.Steps", "Manager.load")
	require.NoError(t, err)
	require.Equal(t, []stop{
		{"service.go", []string{"Manager.Steps"}},
		{"internal/fresh/fresh.go", []string{"fresh.Cache.Look"}},
	}, w.stops())
	require.Empty(t, w.check([]string{"Manager.load"}))
}

// TestDoors: a door that is not needed, or that cannot be one, is refused.
func TestDoors(t *testing.T) {
	t.Parallel()
	g := graphOf(t, fixture)
	for door, wrong := range map[string]string{
		"Manager.open":     "",
		"Manager.harmless": "Manager.harmless reaches nothing outside, and needs no door",
		"Manager.Loop":     "the door Manager.Loop is not called from the walk",
	} {
		w, err := g.walk("Manager.Steps", door)
		require.NoError(t, err)
		if wrong == "" {
			require.Empty(t, w.check([]string{door}))
		} else {
			require.Equal(t, []string{wrong}, w.check([]string{door}))
		}
	}
	for _, door := range []string{"Manager.Steps", "Manager.unheard"} {
		_, err := g.walk("Manager.Steps", door)
		require.ErrorContains(t, err, door)
	}
	_, err := g.walk("Manager.unheard")
	require.ErrorContains(t, err, "no function Manager.unheard")
}

// TestRun: the command prints a walk in the form of the page, and what could be doors.
func TestRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(&out, []string{"-module", fixture, "-entry", "Manager.Steps", "-door", "Manager.open"}))
	require.Equal(t, `### Steps

1. `+"`service.go`: `Manager.Steps`"+`.
2. `+"`ways.go`: `Manager.load`"+`.
3. `+"`internal/fresh/fresh.go`: `fresh.Cache.Look`"+`.

Doors:

- `+"`Manager.open` (`ways.go`)"+`: why it is one.

3 functions in 3 files. Outside calls:
  fresh.Cache.Look calls keystore.Store.Get

Could be doors, with what would be left:
  Manager.load                             ways.go                    2 functions,  2 files
  fresh.Cache.Look                         internal/fresh/fresh.go    2 functions,  2 files
`, out.String())
	require.ErrorContains(t, run(&out, []string{"-module", fixture, "-entry", "Manager.Steps", "-door", "Manager.harmless"}), "needs no door")
	require.Error(t, run(&out, []string{"-module", fixture}))
	require.Error(t, run(&out, []string{"-module", filepath.Join(fixture, "keystore", "nowhere")}))
}
