package kms_test

import (
	"flag"
	"fmt"
	"go/ast"
	"os"
	"regexp"
	"slices"
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
	replaceBlock(t, "docs/lifecycle.md", "<!-- diagram -->\n", "<!-- end of diagram -->", diagram(t))
}

// cells is the table as text, its heading first.
func cells() [][]string {
	rows := [][]string{{"operation"}}
	for _, s := range append(kms.States, kms.Unavailable) {
		rows[0] = append(rows[0], s.String())
	}
	rows[0] = append(rows[0], "whatever the state")
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
		_, besides := kms.Besides(op)
		row = append(row, strings.Join(besides, ", "))
		rows = append(rows, row)
	}
	return rows
}

func padded(row []string) []string {
	widths := []int{31, 16, 13, 15, 18, 11, 18, 0}
	out := make([]string, len(row))
	for i, cell := range row {
		out[i] = fmt.Sprintf("%-*s", widths[i], cell)
	}
	return out
}

// byFacts are the states that the facts may give where the table says that they decide.
var byFacts = map[kms.Op][]kms.State{
	kms.OpCancelKeyDeletion: {kms.PendingImport, kms.Disabled}, // what can be scheduled
	kms.OpImportKeyMaterial: {kms.Enabled, kms.Disabled},
}

// diagram draws every cell that changes the state.
func diagram(t *testing.T) string {
	var b strings.Builder
	b.WriteString("```mermaid\nstateDiagram-v2\n    [*] --> Enabled: CreateKey\n")
	for op := kms.Op(0); op < kms.NumOps; op++ {
		for _, s := range kms.States {
			next, asItsFacts, allowed := kms.Next(op, s)
			switch {
			case allowed && asItsFacts:
				require.NotEmpty(t, byFacts[op], op)
				for _, next := range byFacts[op] {
					fmt.Fprintf(&b, "    %v --> %v: %v\n", s, next, op)
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

// methodsOf are the methods of a Manager whose doc comments name what the row of an operation refuses
// with, if they are not called as the operation is.
var methodsOf = map[kms.Op][]string{
	kms.OpListKeyVersions: {"KeyVersions"}, kms.OpGetKeyUsage: {"KeyUsage"},
	kms.OpReEncryptFrom: {"ReEncrypt", "ReEncryptWithKey"}, kms.OpReEncryptTo: {"ReEncrypt", "ReEncryptWithKey"},
	kms.OpDecrypt: {"Decrypt", "DecryptWithKey", "AppendDecrypt"}, kms.OpEncrypt: {"Encrypt", "AppendEncrypt"},
	kms.OpGenerateDataKey: {"GenerateDataKey", "GenerateDataKeyN", "AppendDataKey"},
	kms.OpSign:            {"Sign", "SignDigest"}, kms.OpVerify: {"Verify", "VerifyDigest"},
}

// refusedWith begins the paragraph of a doc comment that names what a method is refused with.
const refusedWith = "// By what the key is, it is refused with "

// TestMethodsNameTheirRefusals: the doc comment of each method names each condition that its row of
// the table can refuse with; -update writes them there.
func TestMethodsNameTheirRefusals(t *testing.T) {
	want := map[string][]string{}
	for op := kms.Op(0); op < kms.NumOps; op++ {
		if kms.HasRow(op) {
			methods := methodsOf[op]
			if methods == nil {
				methods = []string{op.String()}
			}
			for _, method := range methods {
				want[method] = append(want[method], rowRefusals(op)...)
			}
		}
	}
	for _, f := range librarySources(t) {
		for _, decl := range f.Decls {
			d, ok := decl.(*ast.FuncDecl)
			if !ok || f.folder != "." || d.Recv == nil || receiver(d).Name != "Manager" || want[d.Name.Name] == nil {
				continue
			}
			conditions := slices.Compact(slices.Sorted(slices.Values(want[d.Name.Name])))
			delete(want, d.Name.Name)
			if *update {
				writeRefusals(t, f.path, d.Name.Name, conditions)
				continue
			}
			named := regexp.MustCompile(`Err[A-Z][A-Za-z]*`).FindAllString(d.Doc.Text(), -1)
			require.Subset(t, named, conditions, "the comment of %s: go test -run TestMethodsNameTheirRefusals -update .", d.Name.Name)
		}
	}
	require.Empty(t, want, "no method does these")
}

// rowRefusals are the conditions that a row can refuse with.
func rowRefusals(op kms.Op) []string {
	all, _ := kms.Besides(op)
	for _, s := range kms.States {
		for _, err := range []error{kms.Refusal(op, s), kms.RefusalWhileExpired(op, s)} {
			if err != nil {
				all = append(all, kit.Conditions(err)...)
			}
		}
	}
	return all
}

// writeRefusals puts the conditions into the last paragraph of a method's comment.
func writeRefusals(t *testing.T, file, method string, conditions []string) {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	before, after, ok := strings.Cut(string(content), "\nfunc (m *Manager) "+method+"(")
	require.True(t, ok, method)
	if i := strings.LastIndex(before, "\n//\n"+refusedWith); i >= 0 && !strings.Contains(before[i:], "\n\n") {
		before = before[:i]
	}
	sentence := refusedWith + strings.Join(conditions[:len(conditions)-1], ", ") + " and " + conditions[len(conditions)-1] + "."
	if len(conditions) == 1 {
		sentence = refusedWith + conditions[0] + "."
	}
	text := "\n//"
	for line := sentence; line != ""; {
		cut := len(line)
		if cut > 96 {
			cut = strings.LastIndex(line[:96], " ")
		}
		text += "\n" + line[:cut]
		if line = strings.TrimSpace(line[cut:]); line != "" {
			line = "// " + line
		}
	}
	require.NoError(t, os.WriteFile(file, []byte(before+text+"\nfunc (m *Manager) "+method+"("+after), 0o644))
}
