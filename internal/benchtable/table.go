package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A row is what was measured for one name, without the part that says whose it is.
type row struct {
	name string
	runs []map[string]figures // one for each run: by the implementation
}

type figures struct{ ns, bytes, allocs float64 }

// line is a line of a benchmark: BenchmarkUse/op=Encrypt/…/impl=keyhold-2  100  12.5 ns/op  64 B/op  1 allocs/op
var line = regexp.MustCompile(`^Benchmark\w+/(\S+)/impl=(\w+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op(?:\s+[\d.]+ MB/s)?\s+([\d.]+) B/op\s+([\d.]+) allocs/op`)

var cpuLine = regexp.MustCompile(`(?m)^cpu: (.*)$`)

// parse reads what each run printed. The rows are in the order of the first run.
func parse(runs []string) []*row {
	var rows []*row
	byName := map[string]*row{}
	for i, out := range runs {
		for text := range strings.Lines(out) {
			m := line.FindStringSubmatch(text)
			if m == nil {
				continue
			}
			r := byName[m[1]]
			if r == nil {
				r = &row{name: m[1], runs: make([]map[string]figures, len(runs))}
				byName[m[1]], rows = r, append(rows, r)
			}
			if r.runs[i] == nil {
				r.runs[i] = map[string]figures{}
			}
			r.runs[i][m[2]] = figures{number(m[3]), number(m[4]), number(m[5])}
		}
	}
	return rows
}

func number(s string) float64 {
	n, _ := strconv.ParseFloat(s, 64) // the pattern allows digits only
	return n
}

// each collects one figure of every run that has it.
func (r *row) each(of func(run map[string]figures) (float64, bool)) []float64 {
	var all []float64
	for _, run := range r.runs {
		if f, ok := of(run); ok {
			all = append(all, f)
		}
	}
	slices.Sort(all)
	return all
}

func (r *row) median(impl string, of func(figures) float64) string {
	all := r.each(func(run map[string]figures) (float64, bool) { f, ok := run[impl]; return of(f), ok })
	if len(all) == 0 {
		return "–"
	}
	return significant(all[len(all)/2])
}

// ratio is the median of the ratios of each run, and their range: what slows a run down
// slows both of its sides down.
func (r *row) ratio(floor string) string {
	all := r.each(func(run map[string]figures) (float64, bool) {
		own, floor := run["keyhold"].ns, run[floor].ns
		return own / floor, own > 0 && floor > 0
	})
	if len(all) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f (%.1f–%.1f)", all[len(all)/2], all[0], all[len(all)-1])
}

func significant(f float64) string {
	if f < 100 {
		return strconv.FormatFloat(f, 'g', 3, 64)
	}
	s := strconv.FormatFloat(f, 'f', 0, 64)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + " " + s[at:]
	}
	return s
}

// table is the Markdown.
func table(rows []*row) string {
	var b strings.Builder
	b.WriteString("| Operation | Bytes | Keys | Goroutines | ns/op | allocs/op | least KMS, ns/op | ratio to it | raw, ns/op | ratio to it |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
	ns, allocs := func(f figures) float64 { return f.ns }, func(f figures) float64 { return f.allocs }
	for _, r := range rows {
		parts := map[string]string{}
		for part := range strings.SplitSeq(r.name, "/") {
			key, value, _ := strings.Cut(part, "=")
			if parts[key] = value; key == "size" && value == "0" {
				parts[key] = "–"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", parts["op"], parts["size"], parts["keys"], parts["goroutines"],
			r.median("keyhold", ns), r.median("keyhold", allocs), r.median("least", ns), r.ratio("least"), r.median("raw", ns), r.ratio("raw"))
	}
	return b.String()
}

// Marks in a document, between which the table stands.
const (
	begin = "<!-- benchtable: begin -->"
	end   = "<!-- benchtable: end -->"
)

// replaced is the document with the text between the marks replaced.
func replaced(document, text string) (string, error) {
	before, rest, ok := strings.Cut(document, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", fmt.Errorf("benchtable: the document lacks %q or %q behind it", begin, end)
	}
	return before + begin + "\n" + text + end + after, nil
}
