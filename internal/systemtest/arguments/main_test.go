package arguments_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/kit"
)

func TestMain(m *testing.M) { os.Exit(kit.Main(m)) }

// module is the root of the module, seen from here.
const module = "../../.."

// packages are the packages that other modules import, but for the root, whose tests are its own.
var packages = []string{
	"software", "hsm", "tinkkms", "kmstest", "provider", "provider/providertest",
	"keystore", "keystore/boltstore", "keystore/pgstore", "keystore/keystoretest",
	"legacy", "legacy/keyring", "legacy/tinkset", "legacy/transit", "legacy/legacytest",
}

// A declared function or method of a package that is exported, as its source has it.
type declared struct {
	name     string // as Open, or Root.Encrypt
	function *ast.FuncDecl
}

// exported returns the exported functions and methods of a package, and its exported types that are
// neither interfaces nor aliases.
func exported(t *testing.T, folder string) (functions []declared, types []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(module, folder, "*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files, folder)
	for _, name := range files {
		// Without cgo a package has the same functions, in another file.
		if strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, "_nocgo.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if full, ok := exportedName(d); ok {
					functions = append(functions, declared{full, d})
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					s, ok := spec.(*ast.TypeSpec)
					if !ok || !s.Name.IsExported() {
						continue
					}
					if _, isInterface := s.Type.(*ast.InterfaceType); !isInterface {
						types = append(types, s.Name.Name)
					}
				}
			}
		}
	}
	return functions, types
}

func exportedName(d *ast.FuncDecl) (string, bool) {
	if d.Recv == nil {
		return d.Name.Name, d.Name.IsExported()
	}
	receiver := d.Recv.List[0].Type
	if pointer, ok := receiver.(*ast.StarExpr); ok {
		receiver = pointer.X
	}
	id, ok := receiver.(*ast.Ident)
	if !ok {
		return "", false
	}
	return id.Name + "." + d.Name.Name, id.IsExported() && d.Name.IsExported()
}

// forTests reports whether a function takes a *testing.T or a testing.TB: what it is given that is
// wrong fails that test.
func (d declared) forTests() bool {
	for _, p := range d.function.Type.Params.List {
		kind := p.Type
		if pointer, ok := kind.(*ast.StarExpr); ok {
			kind = pointer.X
		}
		if s, ok := kind.(*ast.SelectorExpr); ok {
			if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "testing" {
				return true
			}
		}
	}
	return false
}

var background = context.Background()
