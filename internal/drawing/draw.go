package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A role is what a package is there for.
type role int

const (
	forPrograms   role = iota // programs import it, or what they import does
	forTests                  // tests import it
	forDevelopers             // it is a program that those who work on the module run
	asExample                 // it is a program to learn from, or a part of one
)

// roles says of each package what it is there for. Programs import what is neither internal nor
// named as something for tests is.
func roles(packages []pkg) map[string]role {
	byPath, found := map[string]pkg{}, map[string]role{}
	for _, p := range packages {
		byPath[p.path] = p
		switch segments := strings.Split(p.path, "/"); {
		case segments[0] == "examples":
			found[p.path] = asExample
		case p.command:
			found[p.path] = forDevelopers
		default:
			found[p.path] = forTests
		}
	}
	var mark func(path string)
	mark = func(path string) {
		if role, ok := found[path]; ok && role == forTests {
			found[path] = forPrograms
			for _, imported := range byPath[path].imports {
				mark(imported)
			}
		}
	}
	for _, p := range packages {
		if !slices.Contains(strings.Split(p.path, "/"), "internal") && !strings.HasSuffix(p.path, "test") {
			mark(p.path)
		}
	}
	return found
}

// layers says of each package how many layers are below it: none below one that imports no other.
func layers(packages []pkg) map[string]int {
	byPath, found := map[string]pkg{}, map[string]int{}
	for _, p := range packages {
		byPath[p.path] = p
	}
	var layer func(path string) int
	layer = func(path string) int {
		if n, ok := found[path]; ok {
			return n
		}
		n := 0
		for _, imported := range byPath[path].imports {
			n = max(n, layer(imported)+1)
		}
		found[path] = n
		return n
	}
	for _, p := range packages {
		layer(p.path)
	}
	return found
}

// draw returns the drawing: the library in layers, the uppermost first, and then lists of the rest.
func draw(packages []pkg) string {
	is, layer := roles(packages), layers(packages)
	of := func(wanted role) (rows []row) {
		for _, p := range packages {
			if is[p.path] == wanted {
				rows = append(rows, row{layer[p.path], p})
			}
		}
		return rows
	}
	lib := of(forPrograms)
	slices.SortStableFunc(lib, func(a, b row) int { return b.layer - a.layer })
	var text strings.Builder
	text.WriteString("A package imports packages of lower layers only.\n\n```text\n")
	writeRows(&text, lib, true)
	text.WriteString("```\n")
	for _, rest := range []struct {
		role role
		says string
	}{
		{forTests, "For tests alone"},
		{forDevelopers, "Commands for those who work on the module"},
		{asExample, "Examples"},
	} {
		if rows := of(rest.role); len(rows) > 0 {
			fmt.Fprintf(&text, "\n%s:\n\n```text\n", rest.says)
			writeRows(&text, rows, false)
			text.WriteString("```\n")
		}
	}
	return text.String()
}

type row struct {
	layer int
	pkg
}

// writeRows writes one line a package. Layers are set apart by an empty line.
func writeRows(text *strings.Builder, rows []row, layered bool) {
	name, says := 0, 0
	for _, r := range rows {
		name, says = max(name, utf8.RuneCountInString(r.path)), max(says, utf8.RuneCountInString(phrase(r.synopsis)))
	}
	for i, r := range rows {
		line := fmt.Sprintf("%-*s  %-*s", name, r.path, says, phrase(r.synopsis))
		if len(r.imports) > 0 {
			line += "  ─> " + strings.Join(r.imports, ", ")
		}
		if layered {
			if i > 0 && r.layer != rows[i-1].layer {
				text.WriteString("\n")
			}
			line = fmt.Sprintf("%d  %s", r.layer, line)
		}
		text.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// longest is how long a phrase may be, in runes.
const longest = 64

// phrase makes the first sentence of a package's comment short: it leaves out the name, ends with
// the first clause, and is cut if it is still too long.
func phrase(synopsis string) string {
	words := strings.Fields(synopsis)
	if len(words) > 2 && (words[0] == "Package" || words[0] == "Command") {
		words = words[2:]
		if words[0] == "is" {
			words = words[1:]
		}
	}
	short, length := 0, 0
	for i, word := range words {
		if i > 0 && strings.HasPrefix(word, "(") {
			break
		}
		length += utf8.RuneCountInString(word) + 1
		if length > longest {
			return strings.TrimRight(strings.Join(words[:short], " "), ",:;") + " …"
		}
		short = i + 1
		if i >= 2 && strings.ContainsAny(word[len(word)-1:], ",:;") {
			break
		}
	}
	return strings.TrimRight(strings.Join(words[:short], " "), ",:;.")
}
