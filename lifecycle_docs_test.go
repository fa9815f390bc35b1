package kms_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestLifecycleDocs prints the table and the diagram of the state machine and compares
// them with doc.go and docs/lifecycle.md; -update writes them there.
func TestLifecycleDocs(t *testing.T) {
	var table strings.Builder
	for _, row := range cells() {
		fmt.Fprintf(&table, "//\t%s\n", strings.TrimRight(strings.Join(padded(row), "  "), " "))
	}
	replaceBlock(t, "doc.go", "an error: refused):\n//\n", "//\n// ScheduleKeyDeletion is refused as well", table.String())

	var page strings.Builder
	for i, row := range cells() {
		fmt.Fprintf(&page, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			page.WriteString("|" + strings.Repeat("---|", len(row)) + "\n")
		}
	}
	replaceBlock(t, "docs/lifecycle.md", "<!-- table -->\n", "<!-- end of table -->", page.String())
	replaceBlock(t, "docs/lifecycle.md", "<!-- diagram -->\n", "<!-- end of diagram -->", diagram())
}

// cells is the table as text, its heading first.
func cells() [][]string {
	rows := [][]string{{"operation"}}
	for _, s := range append(kms.States, kms.Unavailable) {
		rows[0] = append(rows[0], s.String())
	}
	for op := kms.Op(0); op < kms.NumOps; op++ {
		if !kms.HasRow(op) {
			continue
		}
		row := []string{op.String()}
		for _, s := range kms.States {
			next, asItsFacts, allowed := kms.Next(op, s)
			switch {
			case !allowed:
				row = append(row, kit.Conditions(kms.Refusal(op, s))[0])
			case asItsFacts:
				row = append(row, "as its facts say")
			case next == s:
				row = append(row, "ok")
			default:
				row = append(row, next.String())
			}
		}
		_, asItself, allowed := kms.Next(op, kms.Unavailable)
		switch {
		case !allowed:
			row = append(row, kit.Conditions(kms.RefusalWhileExpired(op, kms.Enabled))[0])
		case asItself && kms.IsReading(op):
			row = append(row, "ok")
		default:
			row = append(row, "as by itself")
		}
		rows = append(rows, row)
	}
	return rows
}

func padded(row []string) []string {
	widths := []int{31, 16, 13, 15, 18, 11, 18}
	out := make([]string, len(row))
	for i, cell := range row {
		out[i] = fmt.Sprintf("%-*s", widths[i], cell)
	}
	return out
}

// diagram draws every cell that changes the state.
func diagram() string {
	var b strings.Builder
	b.WriteString("```mermaid\nstateDiagram-v2\n    [*] --> Enabled: CreateKey\n")
	for op := kms.Op(0); op < kms.NumOps; op++ {
		for _, s := range kms.States {
			next, asItsFacts, allowed := kms.Next(op, s)
			switch {
			case allowed && asItsFacts: // back to whatever can be scheduled
				for _, before := range kms.States {
					if _, _, ok := kms.Next(kms.OpScheduleKeyDeletion, before); ok {
						fmt.Fprintf(&b, "    %v --> %v: %v\n", s, before, op)
					}
				}
			case allowed && next != s:
				fmt.Fprintf(&b, "    %v --> %v: %v\n", s, next, op)
			}
		}
	}
	b.WriteString("    PendingDeletion --> Deleted: the deletion date comes\n    Deleted --> [*]\n```\n")
	return b.String()
}

// replaceBlock holds what stands in a file between two texts to what it should be.
func replaceBlock(t *testing.T, file, begin, end, want string) {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(content), begin)
	require.True(t, ok, "%s: %q is not there", file, begin)
	got, after, ok := strings.Cut(rest, end)
	require.True(t, ok, "%s: %q is not there", file, end)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(before+begin+want+end+after), 0o644))
		return
	}
	require.Equal(t, want, got, "%s does not show the table that the code has: go test -run TestLifecycleDocs -update .", file)
}
