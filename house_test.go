package kms_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The rules of the house, as tests: CONTRIBUTING.md says them in words.

const houseModule = "github.com/keyhold/kms"

// A houseRule says what the files of a package that are no tests may import besides the
// standard library: packages of this module by their folder, and anything under the
// prefixes of other modules.
type houseRule struct {
	module, others []string
	anything       bool
}

// houseRules has a row for every package. One that is not in it fails TestHouseImports,
// so that adding a package means deciding what it may know.
var houseRules = map[string]houseRule{
	".": {module: []string{"keystore", "provider", "legacy", "internal/xaes",
		"internal/keyid", "internal/wire", "internal/fresh", "internal/sealing", "internal/frames", "internal/wrapping", "internal/unfilled"}, others: []string{"github.com/cockroachdb/errors"}},

	"keystore":                    {module: []string{"keystore/internal/ring"}},
	"keystore/internal/ring":      {},
	"keystore/internal/pages":     {module: []string{"keystore"}},
	"keystore/internal/storetest": {module: []string{"keystore"}},
	"keystore/keystoretest":       {module: []string{"keystore"}},
	"keystore/boltstore":          {module: []string{"keystore", "keystore/internal/ring", "keystore/internal/pages"}, others: []string{"go.etcd.io/bbolt"}},
	"keystore/pgstore":            {module: []string{"keystore", "keystore/internal/pages"}, others: []string{"github.com/jackc/pgx/v5"}},

	"provider":              {},
	"provider/providertest": {module: []string{"provider", "internal/suite"}},
	"software": {module: []string{"provider", "internal/xaes", "internal/privatefile", "internal/cleartext", "internal/unfilled"},
		others: []string{"github.com/tink-crypto/tink-go/v2", "golang.org/x/crypto"}},
	"tinkkms": {module: []string{"."}, others: []string{"github.com/tink-crypto/tink-go/v2"}},
	"hsm":     {module: []string{"provider", "internal/unfilled"}, others: []string{"github.com/ThalesGroup/crypto11", "github.com/miekg/pkcs11"}},

	"legacy":                  {},
	"legacy/legacytest":       {module: []string{"legacy", "internal/suite", "internal/reach"}},
	"legacy/internal/vectors": {},
	"legacy/keyring":          {module: []string{"legacy", "internal/privatefile", "internal/unfilled"}},
	"legacy/tinkset": {module: []string{"legacy", "internal/cleartext", "internal/unfilled"},
		others: []string{"github.com/tink-crypto/tink-go/v2"}},
	"legacy/transit": {module: []string{"legacy", "internal/unfilled"}, others: []string{"golang.org/x/crypto"}},

	"kmstest":             {module: []string{".", "software", "keystore", "keystore/keystoretest"}},
	"internal/wycheproof": {others: []string{"github.com/c2sp/wycheproof"}},
	"internal/cleartext":  {others: []string{"github.com/tink-crypto/tink-go/v2"}},
	"internal/campaign":   {}, "internal/privatefile": {}, "internal/kwp": {}, "internal/xaes": {}, "internal/unfilled": {},

	"internal/keyid":    {},
	"internal/wire":     {module: []string{"internal/keyid"}},
	"internal/fresh":    {module: []string{"keystore"}},
	"internal/sealing":  {module: []string{"internal/keyid", "internal/xaes"}},
	"internal/frames":   {module: []string{"internal/sealing", "internal/xaes"}},
	"internal/wrapping": {module: []string{"internal/keyid", "internal/kwp", "internal/unfilled"}},

	"internal/collision": {others: []string{"github.com/tink-crypto/tink-go/v2"}},
	"internal/notrun":    {},
	"internal/mutants":   {},
	"internal/testlog":   {},
	"internal/drawing":   {},
	"internal/walks":     {},
	"internal/kit": {module: []string{".", "kmstest", "software", "provider", "legacy", "legacy/keyring", "hsm", "keystore", "keystore/boltstore", "keystore/pgstore",
		"internal/keyid", "internal/sealing", "internal/wrapping", "internal/pgtest", "internal/testtoken"}, others: []string{"github.com/jackc/pgx/v5"}},
	"internal/pgtest":    {module: []string{"internal/notrun"}},
	"internal/leaktest":  {module: []string{"internal/reach"}, others: []string{"github.com/stretchr/testify"}},
	"internal/reach":     {},
	"internal/suite":     {},
	"internal/tinkkeys":  {module: []string{"internal/cleartext"}, others: []string{"github.com/tink-crypto/tink-go/v2"}},
	"internal/testtoken": {module: []string{"internal/notrun"}},

	"examples/...": {anything: true},
}

// secretAccess are the packages of Tink that hand out keys in the clear. One package may
// import them.
var secretAccess = []string{"insecurecleartextkeyset", "insecuresecretdataaccess"}

const mayAccessSecrets = "internal/cleartext"

// mayImportTestify is the one package that may import testify in files that are no tests: it
// looks for secrets in what a failed assertion of testify prints.
const mayImportTestify = "internal/leaktest"

// longFiles are the files that may be longer than the house allows, each with its reason.
var longFiles = map[string]string{}

const longestFile = 400

// A houseFile is one parsed file of the module.
type houseFile struct {
	path, folder string // with slashes; the folder of the root is "."
	test         bool
	lines        int
	set          *token.FileSet
	*ast.File
}

// houseFiles parses the whole module, whatever the build tags say.
func houseFiles(t *testing.T) []houseFile {
	t.Helper()
	files, err := parsedFiles()
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return slices.Clone(files)
}

// parsedFiles parses the module once, for all tests. Nobody changes what it found.
var parsedFiles = sync.OnceValues(func() (files []houseFile, err error) {
	err = filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			_, other := os.Stat(filepath.Join(name, "go.mod"))
			if name != "." && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || other == nil) {
				return fs.SkipDir
			}
			return nil
		case filepath.Ext(name) != ".go":
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		slashed := filepath.ToSlash(name)
		files = append(files, houseFile{slashed, path.Dir(slashed), strings.HasSuffix(name, "_test.go"),
			set.File(f.Pos()).LineCount(), set, f})
		return nil
	})
	return files, err
})

// functions are the names of the functions of a file that are no methods.
func functions(f houseFile) (names []string) {
	for _, decl := range f.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
			names = append(names, fn.Name.Name)
		}
	}
	return names
}

// librarySources are the files that are no tests.
func librarySources(t *testing.T) []houseFile {
	t.Helper()
	files := slices.DeleteFunc(houseFiles(t), func(f houseFile) bool { return f.test })
	require.NotEmpty(t, files)
	return files
}

// goCommand runs the go command, without the GODEBUG that these tests may run under.
func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "GODEBUG=")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	require.NoError(t, err, "go %s: %s", strings.Join(args, " "), &complaint)
	return out
}

func (f houseFile) imported() []string {
	var paths []string
	for _, spec := range f.Imports {
		p, _ := strconv.Unquote(spec.Path.Value) // the parser has done it before
		paths = append(paths, p)
	}
	return paths
}

func (r houseRule) allows(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	under := func(prefix string) bool { return imported == prefix || strings.HasPrefix(imported, prefix+"/") }
	switch {
	case imported == "C":
		return false
	case r.anything:
		return true
	case imported == houseModule:
		return slices.Contains(r.module, ".")
	case under(houseModule):
		return slices.Contains(r.module, imported[len(houseModule)+1:])
	case strings.Contains(first, "."):
		return slices.ContainsFunc(r.others, under)
	default:
		return true // the standard library
	}
}

// TestHouseImports: who may import whom.
func TestHouseImports(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range librarySources(t) {
		row := f.folder
		if strings.HasPrefix(row, "examples/") {
			row = "examples/..."
		}
		rule, known := houseRules[row]
		if !known {
			t.Errorf("package %s is not in houseRules: decide what it may import", f.folder)
			continue
		}
		seen[row] = true
		for _, p := range f.imported() {
			if !rule.allows(p) {
				t.Errorf("%s imports %s, which houseRules does not allow", f.path, p)
			}
			if strings.HasPrefix(p, "github.com/stretchr/testify") && f.folder != mayImportTestify {
				t.Errorf("%s imports %s, which is for tests and %s", f.path, p, mayImportTestify)
			}
			if f.folder != mayAccessSecrets && slices.Contains(secretAccess, path.Base(p)) {
				t.Errorf("%s imports %s, which only %s may", f.path, p, mayAccessSecrets)
			}
		}
	}
	for row := range houseRules {
		require.True(t, seen[row], "houseRules has a row for %s, which is not there", row)
	}
}

// TestHouseKitIsForTests: what internal/kit has is imported by tests, and by packages that hold
// nothing but tests of the whole service.
func TestHouseKitIsForTests(t *testing.T) {
	t.Parallel()
	users := 0
	for _, f := range houseFiles(t) {
		if !slices.Contains(f.imported(), houseModule+"/internal/kit") {
			continue
		}
		users++
		if !f.test && !strings.HasPrefix(f.folder, "internal/systemtest/") {
			t.Errorf("%s imports internal/kit, which is for tests", f.path)
		}
	}
	require.NotZero(t, users)
}

// TestHouseRootKnowsNoImplementation: not even through another package does the root get
// an implementation, Tink, or C.
func TestHouseRootKnowsNoImplementation(t *testing.T) {
	t.Parallel()
	out := goCommand(t, "list", "-deps", "-f", "{{.ImportPath}}{{if and .CgoFiles (not .Standard)}} cgo{{end}}", ".")
	deps := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Contains(t, deps, houseModule)
	for _, dep := range deps {
		require.NotContains(t, dep, " cgo")
		require.NotContains(t, dep, "tink")
		if own, ok := strings.CutPrefix(dep, houseModule+"/"); ok {
			require.Contains(t, []string{"keystore", "keystore/internal/ring", "provider", "legacy", "internal/xaes", "internal/kwp",
				"internal/keyid", "internal/wire", "internal/fresh", "internal/sealing", "internal/frames", "internal/wrapping", "internal/unfilled"}, own)
		}
	}
}

// TestHouseErrorTexts: the package-level errors of the module begin with the name of
// their package, and no two have the same text: cockroachdb/errors would take the one for
// the other.
func TestHouseErrorTexts(t *testing.T) {
	t.Parallel()
	where := map[string]string{}
	for _, f := range librarySources(t) {
		for _, decl := range f.Decls {
			vars, ok := decl.(*ast.GenDecl)
			if !ok || vars.Tok != token.VAR {
				continue
			}
			ast.Inspect(vars, func(n ast.Node) bool {
				text, ok := errorText(n)
				if !ok {
					return true
				}
				if !strings.HasPrefix(text, f.Name.Name+": ") {
					t.Errorf("%s: the error %q does not begin with %q", f.path, text, f.Name.Name+": ")
				}
				if other, taken := where[text]; taken {
					t.Errorf("%s: the error %q is in %s, too", f.path, text, other)
				}
				where[text] = f.path
				return true
			})
		}
	}
	require.Contains(t, where, "kms: the key is disabled")
	require.Contains(t, where, "keystore: no such item")
}

// errorText is the text of errors.New("…") and of &condition{"…", …}.
func errorText(n ast.Node) (string, bool) {
	var first []ast.Expr
	switch n := n.(type) {
	case *ast.CallExpr:
		if called, ok := n.Fun.(*ast.SelectorExpr); ok && called.Sel.Name == "New" {
			if from, ok := called.X.(*ast.Ident); ok && from.Name == "errors" {
				first = n.Args
			}
		}
	case *ast.CompositeLit:
		if kind, ok := n.Type.(*ast.Ident); ok && kind.Name == "condition" {
			first = n.Elts
		}
	}
	if len(first) == 0 {
		return "", false
	}
	literal, ok := first[0].(*ast.BasicLit)
	if !ok {
		return "an error whose text is not a literal", true
	}
	text, err := strconv.Unquote(literal.Value)
	return text, err == nil
}

// TestHouseComments: every package and everything exported has a comment.
func TestHouseComments(t *testing.T) {
	t.Parallel()
	explained := map[string]bool{}
	for _, f := range librarySources(t) {
		explained[f.folder] = explained[f.folder] || f.Doc != nil
		for _, decl := range f.Decls {
			for _, name := range withoutComment(decl) {
				t.Errorf("%s: %s has no comment", f.path, name)
			}
		}
	}
	for folder, ok := range explained {
		require.True(t, ok, "package %s has no comment", folder)
	}
}

// withoutComment names what a declaration exports and does not explain.
func withoutComment(decl ast.Decl) (names []string) {
	add := func(name *ast.Ident, comments ...*ast.CommentGroup) {
		if name.IsExported() && !slices.ContainsFunc(comments, func(c *ast.CommentGroup) bool { return c != nil }) {
			names = append(names, name.Name)
		}
	}
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil || receiver(d).IsExported() {
			add(d.Name, d.Doc)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.ValueSpec:
				for _, name := range s.Names {
					add(name, d.Doc, s.Doc, s.Comment)
				}
			case *ast.TypeSpec:
				add(s.Name, d.Doc, s.Doc, s.Comment)
				contract, ok := s.Type.(*ast.InterfaceType)
				if !ok || !s.Name.IsExported() {
					continue
				}
				for _, method := range contract.Methods.List {
					for _, name := range method.Names {
						// Where the interface explains its methods in one comment, that will do.
						add(name, method.Doc, method.Comment, d.Doc, s.Doc)
					}
				}
			}
		}
	}
	return names
}

func receiver(d *ast.FuncDecl) *ast.Ident {
	kind := d.Recv.List[0].Type
	for {
		switch k := kind.(type) {
		case *ast.StarExpr:
			kind = k.X
		case *ast.IndexExpr:
			kind = k.X
		case *ast.IndexListExpr:
			kind = k.X
		case *ast.Ident:
			return k
		default:
			return ast.NewIdent("_")
		}
	}
}

// The front door: anyone who opens the repository sees these files before the README.
const (
	mostSources = 65
	mostTests   = 80
)

var fileName = regexp.MustCompile(`^[a-z0-9]+(_[a-z0-9]+)*\.go$`)

// TestHouseFrontDoor: the root has few files, and all files are named by one convention: lower
// case, words separated by underscores. A last word that is an operating system or an architecture
// is a build constraint, so a file that has one must mean it.
func TestHouseFrontDoor(t *testing.T) {
	t.Parallel()
	sources, tests := 0, 0
	for _, f := range houseFiles(t) {
		require.Regexp(t, fileName, path.Base(f.path), f.path)
		switch {
		case f.folder != ".":
		case f.test:
			tests++
		default:
			sources++
		}
	}
	require.LessOrEqual(t, sources, mostSources, "source files in the root: put fragments together by noun, or move a mechanism to a package")
	require.LessOrEqual(t, tests, mostTests, "test files in the root: suites of the whole service go to internal/systemtest")
}

// TestHouseFileLength: a file has one idea, and so is short.
func TestHouseFileLength(t *testing.T) {
	t.Parallel()
	for _, f := range librarySources(t) {
		if f.lines > longestFile && longFiles[f.path] == "" {
			t.Errorf("%s has %d lines: split it, or give a reason in longFiles", f.path, f.lines)
		}
	}
}

// TestHouseDependencies: each direct dependency has its line in docs/design.md.
func TestHouseDependencies(t *testing.T) {
	t.Parallel()
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	require.NoError(t, json.Unmarshal(goCommand(t, "mod", "edit", "-json"), &mod))
	require.NotEmpty(t, mod.Require)
	design, err := os.ReadFile("docs/design.md")
	require.NoError(t, err)
	for _, r := range mod.Require {
		if !r.Indirect && !bytes.Contains(design, []byte("`"+r.Path+"`")) {
			t.Errorf("docs/design.md does not say what %s is for", r.Path)
		}
	}
}

var (
	testName = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*`)
	pageLink = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
)

// TestHousePages: the tests that the pages name are there, and so are the files that they
// link to.
func TestHousePages(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{}
	for _, f := range houseFiles(t) {
		for _, name := range functions(f) {
			tests[name] = tests[name] || f.test
		}
	}
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	named := map[string]int{}
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, name := range testName.FindAllString(string(text), -1) {
			named[page]++
			if !tests[name] {
				t.Errorf("%s names %s, which is not there", page, name)
			}
		}
		for _, link := range pageLink.FindAllStringSubmatch(string(text), -1) {
			_, err := os.Stat(filepath.Join(filepath.Dir(page), link[1]))
			require.NoError(t, err, "%s links to %s", page, link[1])
		}
	}
	require.NotZero(t, named["README.md"])
	require.NotZero(t, named[filepath.Join("docs", "threat-model.md")])
	require.Greater(t, named[filepath.Join("docs", "incidents.md")], 60)
}

// readmeFrame makes a file of the README's ten lines. It is the caller that they leave out.
const readmeFrame = `package readme

import (
	"context"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/software"
)

func use(ctx context.Context, encrypt, decrypt func(key []byte)) {
SNIPPET
	_ = err
}
`

// TestHouseREADMECompiles: the first Go in the README compiles, as a package that exists
// in an overlay only.
func TestHouseREADMECompiles(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(readme), "```go\n")
	require.True(t, found)
	snippet, _, found := strings.Cut(rest, "```")
	require.True(t, found)

	folder, err := filepath.Abs(filepath.Join("internal", "readme"))
	require.NoError(t, err)
	require.NoDirExists(t, folder)
	source := filepath.Join(t.TempDir(), "readme.go")
	require.NoError(t, os.WriteFile(source, []byte(strings.Replace(readmeFrame, "SNIPPET", snippet, 1)), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(folder, "readme.go"): source}})
	require.NoError(t, err)
	overlayFile := filepath.Join(t.TempDir(), "overlay.json")
	require.NoError(t, os.WriteFile(overlayFile, overlay, 0o600))
	goCommand(t, "build", "-overlay", overlayFile, "./internal/readme")
}
