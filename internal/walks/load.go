package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A listed is what go list says of a package.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles, CgoFiles       []string
	Module                  *struct {
		Path, Dir string
		Main      bool
	}
}

func (l *listed) ours() bool { return l.Module != nil && l.Module.Main }

// A source is a package that was type-checked with the bodies of its functions.
type source struct {
	*types.Package
	info  *types.Info
	files []*ast.File
}

// A program is the root package of a module and the packages of the same module that it imports,
// in the order in which they import each other.
type program struct {
	folder, module string
	set            *token.FileSet
	sources        []*source
}

// load type-checks the root package of the module in a folder, and what it imports of the same
// module, from source. All else comes from the export data that the go command keeps.
func load(folder string) (*program, error) {
	packages, err := list(folder)
	if err != nil {
		return nil, err
	}
	p := &program{set: token.NewFileSet()}
	exports, checked := map[string]string{}, map[string]*types.Package{}
	binary := importer.ForCompiler(p.set, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("go list gave no export data for %s", path)
		}
		return os.Open(exports[path])
	})
	for _, l := range packages {
		exports[l.ImportPath] = l.Export
		if !l.ours() {
			continue
		}
		if len(l.CgoFiles) > 0 {
			return nil, fmt.Errorf("%s uses cgo, which cannot be read from source", l.ImportPath)
		}
		p.folder, p.module = l.Module.Dir, l.Module.Path
		s, err := p.check(l, importing(func(path string) (*types.Package, error) {
			if own := checked[path]; own != nil {
				return own, nil
			}
			return binary.Import(path)
		}))
		if err != nil {
			return nil, err
		}
		checked[l.ImportPath] = s.Package
		p.sources = append(p.sources, s)
	}
	if checked[p.module] == nil {
		return nil, errors.New("the module has no package at its root")
	}
	return p, nil
}

type importing func(path string) (*types.Package, error)

func (i importing) Import(path string) (*types.Package, error) { return i(path) }

// list returns the root package of a module and all that it imports, imports first.
func list(folder string) ([]*listed, error) {
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,CgoFiles,Module", ".")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GODEBUG=", "PWD="+folder)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, &complaint)
	}
	var packages []*listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		l := new(listed)
		switch err := d.Decode(l); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, err
		}
		packages = append(packages, l)
	}
}

func (p *program) check(l *listed, from types.Importer) (*source, error) {
	s := &source{info: &types.Info{
		Uses:       map[*ast.Ident]types.Object{},
		Defs:       map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
		Types:      map[ast.Expr]types.TypeAndValue{},
	}}
	for _, name := range l.GoFiles {
		f, err := parser.ParseFile(p.set, filepath.Join(l.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		s.files = append(s.files, f)
	}
	var err error
	s.Package, err = (&types.Config{Importer: from}).Check(l.ImportPath, p.set, s.files, s.info)
	return s, err
}

// file returns the file of a position, relative to the module, with slashes.
func (p *program) file(at token.Pos) string {
	name := p.set.Position(at).Filename
	if relative, err := filepath.Rel(p.folder, name); err == nil {
		name = relative
	}
	return filepath.ToSlash(name)
}

// name returns the name that the pages give a function: Manager.Encrypt for a method of the root
// package, load for a function of it, and fresh.Cache.Get for what is in another package.
func (p *program) name(f *types.Func) string {
	parts := []string{f.Name()}
	if recv := f.Signature().Recv(); recv != nil {
		if named := namedOf(recv.Type()); named != nil {
			parts = []string{named.Obj().Name(), f.Name()}
		}
	}
	if f.Pkg().Path() != p.module {
		parts = append([]string{f.Pkg().Name()}, parts...)
	}
	return strings.Join(parts, ".")
}

// namedOf returns the named type that a type is, or points to.
func namedOf(t types.Type) *types.Named {
	if pointer, ok := types.Unalias(t).(*types.Pointer); ok {
		t = pointer.Elem()
	}
	named, _ := types.Unalias(t).(*types.Named)
	return named
}
