// Command walks follows a call on its way through the module to the key store, the provider or the
// root, and prints the functions that it passes, file by file. The section Walks
// of docs/design.md is written from its output, and a test compares the section with the code.
//
//	go run ./internal/walks
//	go run ./internal/walks -entry Manager.Decrypt
//	go run ./internal/walks -entry Manager.Decrypt -door Manager.load -door Manager.allow
//
// Without an entry it compares the section with the code, as the test does. A door is a function at
// which the walk is left, because what comes after it is another story. The output ends with the
// functions that could be doors, each with what it would leave of the walk.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// mostFiles is how many files a walk of docs/design.md may pass.
const mostFiles = 4

func main() {
	if err := run(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out io.Writer, args []string) error {
	flags := flag.NewFlagSet("walks", flag.ContinueOnError)
	entry := flags.String("entry", "", "the function that the walk begins with, such as Manager.Decrypt")
	folder := flags.String("module", ".", "the folder of the module")
	var doors []string
	flags.Func("door", "a function at which the walk is left; may be repeated", func(name string) error {
		doors = append(doors, name)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	p, err := load(*folder)
	if err != nil {
		return err
	}
	g, err := newGraph(p)
	if err != nil {
		return err
	}
	if *entry == "" {
		return checkPage(out, g, filepath.Join(p.folder, "docs", "design.md"))
	}
	w, err := g.walk(*entry, doors...)
	if err != nil {
		return err
	}
	report(out, g, w)
	return joined(w.check(doors))
}

// checkPage compares the walks of a page with the code.
func checkPage(out io.Writer, g *graph, page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	walks, err := parse(string(text))
	if err != nil {
		return err
	}
	for _, w := range walks {
		fmt.Fprintf(out, "%s: %d files\n", w.name, len(w.stops))
	}
	return joined(g.compare(walks, mostFiles))
}

// joined makes an error of what is wrong, one line each.
func joined(wrong []string) error {
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "\n"))
}

// report writes a walk in the form that the section has, but for the prose.
func report(out io.Writer, g *graph, w walk) {
	stops := w.stops()
	_, name, method := strings.Cut(w.entry.name, ".")
	if !method {
		name = w.entry.name
	}
	fmt.Fprintf(out, "### %s\n\n", name)
	for i, s := range stops {
		fmt.Fprintf(out, "%d. `%s`: `%s`.\n", i+1, s.file, strings.Join(s.functions, "`, `"))
	}
	if len(w.doors) > 0 {
		fmt.Fprint(out, "\nDoors:\n\n")
	}
	for _, door := range w.doors {
		fmt.Fprintf(out, "- `%s` (`%s`): why it is one.\n", door.name, door.file)
	}
	fmt.Fprintf(out, "\n%d functions in %d files. Outside calls:\n", len(w.functions), len(stops))
	for _, f := range w.functions {
		for _, method := range f.outside {
			fmt.Fprintf(out, "  %s calls %s\n", f.name, method)
		}
	}
	fmt.Fprint(out, "\nCould be doors, with what would be left:\n")
	for _, c := range g.candidates(w) {
		fmt.Fprintf(out, "  %-40s %-24s %3d functions, %2d files\n", c.name, c.file, c.functions, c.files)
	}
}
