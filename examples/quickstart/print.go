package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

func moment(t time.Time) string { return t.UTC().Format("2 January 2006 at 15:04 UTC") }

// say prints a heading and, beside it, lines that are not too long to read.
func say(out io.Writer, heading, format string, args ...any) {
	const column, width = 22, 72
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		fmt.Fprintf(out, "%-*s", column, heading)
		at := 0
		for _, word := range strings.Fields(line) {
			switch {
			case at == 0:
			case at+1+len(word) > width:
				fmt.Fprintf(out, "\n%-*s", column, "")
				at = 0
			default:
				fmt.Fprint(out, " ")
				at++
			}
			fmt.Fprint(out, word)
			at += len(word)
		}
		fmt.Fprintln(out)
		heading = ""
	}
}
