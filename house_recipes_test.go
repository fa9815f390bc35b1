package kms_test

import (
	"go/ast"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/provider"
)

// These tests are for the recipes of CONTRIBUTING.md: each finds a place that somebody forgot who
// added an operation, a store or a spec, and that no other test finds.

// TestHouseChangelog: each method of a Manager is in the CHANGELOG.
func TestHouseChangelog(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("CHANGELOG.md")
	require.NoError(t, err)
	words := map[string]bool{}
	for _, word := range regexp.MustCompile(`\w+`).FindAllString(string(text), -1) {
		words[word] = true
	}
	of := reflect.TypeFor[*kms.Manager]()
	require.Greater(t, of.NumMethod(), 50)
	for i := range of.NumMethod() {
		if name := of.Method(i).Name; !words[name] {
			t.Errorf("CHANGELOG.md does not name %s", name)
		}
	}
}

// TestHouseOps: each operation is what some function of the root package is about. One that no
// function names has a row, and a method that does it in the name of another operation.
func TestHouseOps(t *testing.T) {
	t.Parallel()
	named := map[string]bool{}
	for _, f := range librarySources(t) {
		if f.folder != "." {
			continue
		}
		for _, decl := range f.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && d.Body != nil {
				ast.Inspect(d.Body, func(n ast.Node) bool {
					if name, ok := n.(*ast.Ident); ok {
						named[name.Name] = true
					}
					return true
				})
			}
		}
	}
	for op := range kms.NumOps {
		if name := "Op" + op.String(); ast.IsExported(op.String()) && !named[name] && !named["o"+name[1:]] {
			t.Errorf("no function of package kms names %s", name)
		}
	}
}

// wiped are the types that have a Wipe, and the tests which show that they give nothing afterwards.
var wiped = map[string]string{
	"..DataKey": "TestWipedDataKey", "internal/frames.Writer": "TestWipe", "internal/frames.Reader": "TestWipe",
}

// TestHouseWipe: what was wiped must not look like a secret of zeros. Each type with a Wipe has a test
// of that.
func TestHouseWipe(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{}
	for _, f := range houseFiles(t) {
		for _, decl := range f.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok {
				tests[f.folder+"."+d.Name.Name] = tests[f.folder+"."+d.Name.Name] || f.test
			}
		}
	}
	found := 0
	for _, f := range librarySources(t) {
		for _, decl := range f.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && d.Recv != nil && strings.EqualFold(d.Name.Name, "wipe") {
				found++
				of := f.folder + "." + receiver(d).Name
				require.True(t, tests[f.folder+"."+wiped[of]], "%s has a %s, and no test in wiped", of, d.Name.Name)
			}
		}
	}
	require.Equal(t, len(wiped), found)
}

// The contracts, by methods that only an implementation has, and the suites that prove one.
var contracts = []struct {
	methods []string
	suite   string
}{
	{[]string{"Get", "Put", "List"}, "keystoretest"},
	{[]string{"Generate", "Open", "Destroy"}, "providertest"},
	{[]string{"Scheme", "Locate", "Keys", "Open"}, "legacytest"},
}

// implementations are the folders that declare a type with all of some methods.
func implementations(files []houseFile, methods []string) (folders []string) {
	has := map[[2]string][]string{}
	for _, f := range files {
		for _, decl := range f.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && d.Recv != nil {
				of := [2]string{f.folder, receiver(d).Name}
				has[of] = append(has[of], d.Name.Name)
			}
		}
	}
	for of, names := range has {
		if !slices.ContainsFunc(methods, func(m string) bool { return !slices.Contains(names, m) }) {
			folders = append(folders, of[0])
		}
	}
	slices.Sort(folders)
	return slices.Compact(folders)
}

// TestHouseSuites: each package that implements a contract runs the suite of that contract. Wrappers
// that tests put around an implementation, under internal, do not count.
func TestHouseSuites(t *testing.T) {
	t.Parallel()
	all := houseFiles(t)
	for _, c := range contracts {
		folders := implementations(librarySources(t), c.methods)
		require.NotEmpty(t, folders, c.suite)
		for _, folder := range folders {
			if strings.HasPrefix(folder, "internal/") {
				continue
			}
			if !slices.ContainsFunc(all, func(f houseFile) bool { return f.test && f.folder == folder && refersTo(f, c.suite, "Run") }) {
				t.Errorf("%s has the methods %s: a test of the package must call %s.Run",
					folder, strings.Join(c.methods, ", "), c.suite)
			}
		}
	}
}

// refersTo reports whether a file refers to a name of a package.
func refersTo(f houseFile, pkg, name string) (found bool) {
	ast.Inspect(f.File, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == name {
			x, ok := s.X.(*ast.Ident)
			found = found || ok && x.Name == pkg
		}
		return !found
	})
	return found
}

// TestHouseStores: each store of this module is in the README, and in the list of stores on which
// the tests of the service run.
func TestHouseStores(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	folders := slices.DeleteFunc(implementations(librarySources(t), contracts[0].methods), func(folder string) bool {
		return path.Dir(folder) != "keystore" || strings.HasSuffix(folder, "test")
	})
	require.Contains(t, folders, "keystore/boltstore")
	for _, folder := range folders {
		if !strings.Contains(string(readme), "]("+folder+"/") {
			t.Errorf("README.md does not link to %s", folder)
		}
		name := strconv.Quote(path.Base(folder))
		if !slices.ContainsFunc(houseFiles(t), func(f houseFile) bool {
			return (f.test && f.folder == "." || strings.HasPrefix(f.folder, "internal/")) &&
				slices.Contains(f.imported(), houseModule+"/"+folder) && mentions(f, name)
		}) {
			t.Errorf("%s is not in the list of stores that the tests of the service run on", folder)
		}
	}
}

// mentions reports whether a composite literal of a file has a literal among its elements.
func mentions(f houseFile, literal string) (found bool) {
	ast.Inspect(f.File, func(n ast.Node) bool {
		if c, ok := n.(*ast.CompositeLit); ok {
			for _, e := range c.Elts {
				b, ok := e.(*ast.BasicLit)
				found = found || ok && b.Value == literal
			}
		}
		return !found
	})
	return found
}

// TestHouseSpecs: the specs and the algorithms of the contract are those of the service, and each has
// a constant in the root package under the name of the contract's, a provider, and a case in the suite.
func TestHouseSpecs(t *testing.T) {
	t.Parallel()
	specs, algorithms := typedConstants(t, "provider", "Spec"), typedConstants(t, "provider", "SigningAlgorithm")
	require.NotEmpty(t, specs)
	require.NotEmpty(t, algorithms)
	var offered []string
	for _, spec := range kms.Specs() {
		offered = append(offered, string(spec))
		require.NotEmpty(t, provider.Spec(spec).Uses(), "provider.Spec.Uses has no uses of %s", spec)
	}
	require.ElementsMatch(t, slices.Collect(maps.Values(specs)), offered, "the specs of package provider, and those of package kms")
	var signing []string
	for _, alg := range kms.Algorithms() {
		signing = append(signing, string(alg))
		_, known := alg.Hash()
		require.True(t, known, "provider.SigningAlgorithm.Hash does not know %s", alg)
	}
	require.ElementsMatch(t, slices.Collect(maps.Values(algorithms)), signing)

	macs := typedConstants(t, "provider", "MacAlgorithm")
	require.NotEmpty(t, macs)
	exported, keys := map[string]bool{}, map[string]bool{}
	for _, f := range librarySources(t) {
		if f.folder != "." {
			continue
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for _, name := range n.Names {
					exported[name.Name] = true
				}
			case *ast.KeyValueExpr:
				switch key := n.Key.(type) {
				case *ast.Ident:
					keys[key.Name] = true
				case *ast.SelectorExpr:
					keys[key.Sel.Name] = true
				}
			}
			return true
		})
	}
	for name := range specs {
		require.True(t, exported["Spec"+name], "package kms has no constant Spec%s", name)
	}
	for name := range algorithms {
		require.True(t, exported[name], "package kms has no constant %s", name)
	}
	for name := range macs {
		require.True(t, exported[name], "package kms has no constant %s", name)
		require.True(t, keys[name], "no table of package kms has a row for %s", name)
	}
	files := librarySources(t)
	in := func(name string, folders ...string) bool {
		return slices.ContainsFunc(files, func(f houseFile) bool {
			return slices.Contains(folders, f.folder) && refersTo(f, "provider", name)
		})
	}
	for name := range mergedKeys(algorithms, macs) {
		require.True(t, in(name, "provider/providertest"), "no case of providertest has %s", name)
	}
	for name := range mergedKeys(specs, algorithms, macs) {
		require.True(t, in(name, "software", "hsm"), "no provider has %s", name)
	}
}

func mergedKeys(of ...map[string]string) map[string]bool {
	keys := map[string]bool{}
	for _, m := range of {
		for name := range m {
			keys[name] = true
		}
	}
	return keys
}

// typedConstants are the string constants of a type in a folder, by name.
func typedConstants(t *testing.T, folder, kind string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, f := range librarySources(t) {
		if f.folder != filepath.ToSlash(folder) {
			continue
		}
		for _, decl := range f.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok || d.Tok != token.CONST {
				continue
			}
			for _, s := range d.Specs {
				v := s.(*ast.ValueSpec)
				if of, ok := v.Type.(*ast.Ident); !ok || of.Name != kind || len(v.Values) != 1 {
					continue
				}
				value, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				require.NoError(t, err)
				found[v.Names[0].Name] = value
			}
		}
	}
	return found
}
