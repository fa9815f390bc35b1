package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// small is a module of one package of each kind.
var small = []pkg{
	{path: "examples/first", command: true, synopsis: "Command first shows it.", imports: []string{"driver", "service"}},
	{path: "examples/first/part", synopsis: "Package part is a part of it."},
	{path: "driver", synopsis: "Package driver keeps many things, in a file.", imports: []string{"contract", "internal/file"}},
	{path: "contract", synopsis: "Package contract is the contract."},
	{path: "contracttest", synopsis: "Package contracttest proves a driver.", imports: []string{"contract"}},
	{path: "internal/file", synopsis: "Package file opens files."},
	{path: "internal/kit", synopsis: "Package kit helps tests.", imports: []string{"service"}},
	{path: "internal/draw", command: true, synopsis: "Command draw draws."},
	{path: "service", synopsis: "Package service is the service.", imports: []string{"contract"}},
}

// TestDraw: what is drawn of a small module.
func TestDraw(t *testing.T) {
	t.Parallel()
	require.Equal(t, `A package imports packages of lower layers only.

`+"```text"+`
1  driver         keeps many things  ─> contract, internal/file
1  service        the service        ─> contract

0  contract       the contract
0  internal/file  opens files
`+"```"+`

For tests alone:

`+"```text"+`
contracttest  proves a driver  ─> contract
internal/kit  helps tests      ─> service
`+"```"+`

Commands for those who work on the module:

`+"```text"+`
internal/draw  draws
`+"```"+`

Examples:

`+"```text"+`
examples/first       shows it      ─> driver, service
examples/first/part  a part of it
`+"```"+`
`, draw(small))
	require.NotContains(t, draw(small[3:4]), "Examples", "a list that is empty is left out")
}

// TestPhrase: how the first sentence of a comment becomes a phrase.
func TestPhrase(t *testing.T) {
	t.Parallel()
	for synopsis, short := range map[string]string{
		"": "",
		"Package a is the provider of keys: those of a token.": "the provider of keys",
		"Command a prints a walk.":                             "prints a walk",
		"Package a is AES key wrap (RFC 5649), and no more.":   "AES key wrap",
		"Package a, as b, does c.":                             "as b, does c",
		"Just so.":                                             "Just so",
		"Package a " + strings.Repeat("long ", 20):             strings.Repeat("long ", 12) + "…",
	} {
		require.Equal(t, short, phrase(synopsis), synopsis)
	}
}

// TestReplace: a drawing goes between the comments, and the rest of a page stays.
func TestReplace(t *testing.T) {
	t.Parallel()
	page := "before\n" + opening + "old\n" + closing + "after\n"
	replaced, err := replace(page, "new\n")
	require.NoError(t, err)
	require.Equal(t, "before\n"+opening+"new\n"+closing+"after\n", replaced)
	for _, page := range []string{"", opening, closing, closing + opening} {
		_, err := replace(page, "new\n")
		require.Error(t, err, page)
	}
}

// TestDesignDrawing: docs/design.md has the packages as they are.
func TestDesignDrawing(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "design.md"))
	require.NoError(t, err)
	var drawn bytes.Buffer
	require.NoError(t, run(&drawn, []string{"-module", filepath.Join("..", "..")}))
	require.Contains(t, drawn.String(), "internal/drawing")
	replaced, err := replace(string(page), drawn.String())
	require.NoError(t, err)
	require.True(t, string(page) == replaced, "the packages have changed: go run ./internal/drawing -write")
}
