package kms_test

import (
	"bytes"
	"go/ast"
	"go/printer"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
)

// A refusalPlace is a place of the package that makes a refusal, as it stands in the source.
type refusalPlace struct{ where, condition, text, hint string }

func (p refusalPlace) String() string {
	s := p.where + "\n\tcondition: " + p.condition
	if p.text != "" {
		s += "\n\ttext: " + p.text
	}
	if p.hint != "" {
		s += "\n\thint: " + p.hint
	}
	return s + "\n"
}

// refusalMakers are the functions that make a refusal: which of their arguments are the condition, or
// what it always is, the text and the hint. 0: none.
var refusalMakers = map[string]struct {
	condition      string
	at, text, hint int
}{
	"refuse": {"", 2, 0, 0}, "refuseBecause": {"", 2, 3, 0}, "refuseInstance": {"", 2, 3, 0},
	"invalid": {"ErrInvalid", 0, 1, 0}, "unsupported": {"ErrUnsupported", 0, 2, 3},
	"unavailable": {"ErrUnavailable", 0, 2, 0}, "unavailableInstance": {"ErrUnavailable", 0, 2, 3},
}

// refusalPlaces are all places that make a refusal, except the makers themselves.
func refusalPlaces(t *testing.T) (all []refusalPlace) {
	for _, f := range librarySources(t) {
		if f.folder != "." {
			continue
		}
		for _, decl := range f.Decls {
			d, ok := decl.(*ast.FuncDecl)
			if !ok || d.Body == nil || refusalMakers[d.Name.Name].text > 0 || d.Name.Name == "refuse" {
				continue
			}
			where := f.path + " " + d.Name.Name
			ast.Inspect(d.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					name, _ := n.Fun.(*ast.Ident)
					if name == nil {
						return true
					}
					if maker, ok := refusalMakers[name.Name]; ok {
						p := refusalPlace{where: where, condition: maker.condition}
						if maker.at > 0 {
							p.condition = source(t, n.Args[maker.at])
						}
						if maker.text > 0 {
							p.text = source(t, n.Args[maker.text])
							for _, bound := range n.Args[min(len(n.Args), map[bool]int{true: 2, false: 9}[name.Name == "invalid"]):] {
								p.text += ", " + source(t, bound)
							}
						}
						if maker.hint > 0 {
							p.hint = source(t, n.Args[maker.hint])
						}
						all = append(all, p)
					}
				case *ast.CompositeLit:
					if name, _ := n.Type.(*ast.Ident); name != nil && name.Name == "refusal" {
						all = append(all, composite(t, where, n))
					}
				}
				return true
			})
		}
	}
	slices.SortFunc(all, func(a, b refusalPlace) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(all)
}

func composite(t *testing.T, where string, n *ast.CompositeLit) refusalPlace {
	p := refusalPlace{where: where}
	for _, e := range n.Elts {
		kv := e.(*ast.KeyValueExpr)
		switch kv.Key.(*ast.Ident).Name {
		case "cond":
			p.condition = source(t, kv.Value)
		case "text":
			p.text = source(t, kv.Value)
		case "hint":
			p.hint = source(t, kv.Value)
		}
	}
	return p
}

func source(t *testing.T, e ast.Expr) string {
	var b bytes.Buffer
	require.NoError(t, printer.Fprint(&b, token.NewFileSet(), e))
	return strings.Join(strings.Fields(b.String()), " ")
}

const refusalsFile = "testdata/refusals.txt"

// TestRefusalPlaces: every place that makes a refusal stands in one file, which is there to be read:
// is each text about what happened, and each hint about what to do then? -update writes it.
func TestRefusalPlaces(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	places := refusalPlaces(t)
	for _, p := range places {
		b.WriteString(p.String())
	}
	require.Greater(t, len(places), 100)
	if *update {
		require.NoError(t, os.WriteFile(refusalsFile, []byte(b.String()), 0o644))
		return
	}
	kept, err := os.ReadFile(refusalsFile)
	require.NoError(t, err)
	require.Equal(t, string(kept), b.String(), "go test -run TestRefusalPlaces -update . writes the file; read what is new in it")
}

// TestRefusalsSayWhatWouldDo: a refusal that is ErrUnsupported, or a case of it, has a hint of its own,
// and the text of one that is ErrInvalid names an argument and its rule.
func TestRefusalsSayWhatWouldDo(t *testing.T) {
	t.Parallel()
	rule := []string{" is ", " are ", " has ", " have ", " signs ", " begins ", " overlaps ", " would ", " was ", " takes "}
	for _, p := range refusalPlaces(t) {
		switch p.condition {
		case "ErrUnsupported", "ErrUsage", "ErrOrigin":
			require.NotEmpty(t, p.hint, p)
		case "ErrInvalid":
			says := slices.ContainsFunc(rule, func(verb string) bool { return strings.Contains(p.text, verb) })
			require.True(t, says, "%v names no rule", p)
		case "ErrUnavailable":
			text, err := strconv.Unquote(p.text)
			if known := []string{"", "the key store", "the provider"}; err == nil && p.hint == "" && !slices.Contains(known, text) {
				require.True(t, kms.HasUnavailableHint(text), "%v has the hint of the key store and the provider", p)
			}
		case "":
			t.Errorf("%v has no condition", p)
		}
	}
}

// tamperedBy is the check that failed at each place that makes an ErrTampered. Nothing else is evidence
// that another program writes to the store. The service removes no record of an instance, and
// writes no item under the name of a key that is no key ID.
var tamperedBy = map[string]string{
	"alias.go loadAlias": "sequence number", "alias.go readAlias": "MAC", "allowance.go loadAllowance": "MAC",
	"guard.go homeOf": "missing record", "import_binding.go bind": "seal", "instance_cache.go instanceOf": "missing record", "instance_record.go openHome": "missing record",
	"item.go decodeKey": "MAC", "item.go noKeyItem": "name", "item.go readRecord": "MAC", "legacy.go loadMakers": "MAC",
	"legacy_decrypt.go openOld": "seal", "lookup.go notOlder": "sequence number", "refusal.go tamperedInstance": "MAC",
	"rotation.go material": "seal", "shred.go tamperedItem": "MAC",
}

// TestTamperedPlaces: each place that makes an ErrTampered is known, with the check that failed there.
func TestTamperedPlaces(t *testing.T) {
	t.Parallel()
	checks := []string{"MAC", "seal", "sequence number", "name", "missing record"}
	seen := map[string]bool{}
	for _, p := range refusalPlaces(t) {
		if p.condition == "ErrTampered" {
			require.Contains(t, checks, tamperedBy[p.where], "%v", p)
			seen[p.where] = true
		}
	}
	for where := range tamperedBy {
		require.True(t, seen[where], "%s makes no ErrTampered any more", where)
	}
}
