// Command drawing draws the packages of the module in layers: what they are, and which of the others
// each imports. The drawing is a section of docs/design.md, between two comments; a test fails when
// it is not what the command prints.
//
//	go run ./internal/drawing           prints it
//	go run ./internal/drawing -write    puts it into docs/design.md
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

// The comments between which a page has the drawing.
const (
	opening = "<!-- The packages, drawn by: go run ./internal/drawing -write -->\n"
	closing = "<!-- The end of the packages. -->\n"
)

func main() {
	if err := run(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out io.Writer, args []string) error {
	flags := flag.NewFlagSet("drawing", flag.ContinueOnError)
	folder := flags.String("module", ".", "the folder of the module")
	write := flags.Bool("write", false, "put the drawing into docs/design.md")
	if err := flags.Parse(args); err != nil {
		return err
	}
	packages, err := list(*folder)
	if err != nil {
		return err
	}
	drawn := draw(packages)
	if !*write {
		_, err := io.WriteString(out, drawn)
		return err
	}
	page := filepath.Join(*folder, "docs", "design.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	replaced, err := replace(string(text), drawn)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	return os.WriteFile(page, []byte(replaced), 0o644)
}

// replace puts a drawing between the comments of a page.
func replace(page, drawn string) (string, error) {
	before, rest, opened := strings.Cut(page, opening)
	_, after, closed := strings.Cut(rest, closing)
	if !opened || !closed {
		return "", errors.New("the two comments between which the drawing goes are not there")
	}
	return before + opening + drawn + closing + after, nil
}
