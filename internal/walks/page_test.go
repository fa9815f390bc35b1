package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// steps tells the walk of the fixture's Steps as it is.
const steps = "# A page\n\n## Walks\n\nWhat they are.\n\n### Steps\n\nOf a call.\n\n" +
	"1. `service.go`: `Manager.Steps`. It begins here, and goes\n   on in the next line.\n" +
	"2. `internal/fresh/fresh.go`: `fresh.Cache.Look`.\n\n" +
	"Doors:\n\n- `Manager.load` (`ways.go`): a story of\n  its own.\n\n## Later\n\n### Nothing\n"

// TestParse: what is read of a page, and what is refused.
func TestParse(t *testing.T) {
	t.Parallel()
	walks, err := parse(steps)
	require.NoError(t, err)
	require.Equal(t, []told{{
		name:  "Steps",
		stops: []stop{{"service.go", []string{"Manager.Steps"}}, {"internal/fresh/fresh.go", []string{"fresh.Cache.Look"}}},
		doors: []toldDoor{{"Manager.load", "ways.go", "a story of its own."}},
	}}, walks)
	for text, wrong := range map[string]string{
		"# A page\n":                                               "no section Walks",
		"## Walks\n\nNone.\n":                                      "has no walk",
		"## Walks\n\n### Steps\n\nNone.\n":                         "no file is listed",
		"## Walks\n\n### Steps\n\n1. `a.go`, `f`.\n":               "is not: a number",
		strings.Replace(steps, "a story of\n", "", 1):              "",
		strings.Replace(steps, " (`ways.go`)", "", 1):              "is not: a door",
		strings.Replace(steps, ": a story of\n  its own.", ":", 1): "is not: a door",
	} {
		_, err := parse(text)
		if wrong == "" {
			require.NoError(t, err, text)
		} else {
			require.ErrorContains(t, err, wrong, text)
		}
	}
}

// TestCompare: each thing that a page can get wrong is found.
func TestCompare(t *testing.T) {
	t.Parallel()
	g := graphOf(t, fixture)
	for _, c := range []struct{ old, new, wrong string }{
		{"", "", ""},
		{"`fresh.Cache.Look`", "`fresh.Cache.Lock`", "Steps: there is no function fresh.Cache.Lock"},
		{"2. `internal/fresh/fresh.go`: `fresh.Cache.Look`.\n", "", "Steps: the walk passes fresh.Cache.Look (internal/fresh/fresh.go), which is not listed"},
		{"`Manager.Steps`", "`Manager.Steps`, `Manager.harmless`", "Steps: the walk does not pass Manager.harmless"},
		{"`Manager.Steps`", "`Manager.Steps`, `Manager.load`", "Steps: the walk does not pass Manager.load"},
		{"`Manager.Steps`", "`Manager.Steps`, `Manager.Steps`", "Steps: Manager.Steps is listed twice"},
		{"internal/fresh/fresh.go", "fresh.go", "Steps: fresh.Cache.Look is in internal/fresh/fresh.go, not in fresh.go"},
		{"internal/fresh/fresh.go", "service.go", "Steps: service.go is listed twice"},
		{"(`ways.go`)", "(`way.go`)", "Steps: the door Manager.load is in ways.go, not in way.go"},
		{"- `Manager.load` (`ways.go`)", "- `Manager.harmless` (`service.go`)", "Steps: Manager.harmless reaches nothing outside, and needs no door"},
		{"- `Manager.load` (`ways.go`)", "- `Manager.Loop` (`ways.go`)", "Steps: the door Manager.Loop is not called from the walk"},
		{"- `Manager.load` (`ways.go`)", "- `Manager.loud` (`ways.go`)", "Steps: there is no function Manager.loud, which is to be a door"},
		{"`Manager.Steps`", "`Manager.Stops`", "Steps: there is no function Manager.Stops"},
	} {
		require.Contains(t, steps, c.old)
		walks, err := parse(strings.Replace(steps, c.old, c.new, 1))
		require.NoError(t, err)
		wrong := g.compare(walks, 2)
		if c.wrong == "" {
			require.Empty(t, wrong)
			require.Equal(t, []string{"Steps: the walk passes 2 files; 1 are what a reader can keep in mind"}, g.compare(walks, 1))
			continue
		}
		require.Contains(t, wrong, c.wrong)
	}
}
