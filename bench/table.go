package main

import (
	"fmt"
	"strconv"
	"strings"
)

// table is the Markdown of the results: for each task and contestant how this module stands to
// it, where both were disturbed least, and in the middle of the rounds with their range.
func table(tasks []task, results [][]*result) string {
	var b strings.Builder
	b.WriteString("| Operation | Bytes | Keys | Goroutines | Whose | ns/op | allocs/op | keyhold / it | in the middle round | in four fifths of them |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
	for k, t := range tasks {
		first := results[k][0]
		for _, r := range results[k] {
			line := fmt.Sprintf("| %s | %d | %s | %d | %s | %s | %s |", t.op, t.size, spaced(float64(t.keys)), t.goroutines, r.name, spaced(r.quiet), spaced(r.allocs))
			if r == first {
				b.WriteString(line + " | | |\n")
				continue
			}
			n := len(r.ratios)
			fmt.Fprintf(&b, "%s %.2f | %.2f | %.2f to %.2f |\n", line, first.quiet/r.quiet, r.ratios[n/2], r.ratios[n/10], r.ratios[n-1-n/10])
		}
	}
	return b.String()
}

// spaced is f without a fraction, in groups of three digits.
func spaced(f float64) string {
	s := strconv.FormatFloat(f, 'f', 0, 64)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + " " + s[at:]
	}
	return s
}

// Marks in a document, between which the tables stand.
const (
	begin = "<!-- bench: begin -->"
	end   = "<!-- bench: end -->"
)

// replaced is the document with the text between the marks replaced.
func replaced(document, text string) (string, error) {
	before, rest, ok := strings.Cut(document, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", fmt.Errorf("bench: the document lacks %q or %q behind it", begin, end)
	}
	return before + begin + "\n" + text + end + after, nil
}
