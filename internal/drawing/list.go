package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A pkg is a package of the module.
type pkg struct {
	path     string   // within the module; the name of the package for the one at the root
	command  bool     // it is a package main
	synopsis string   // the first sentence of its comment
	imports  []string // the packages of the module that it imports, sorted
}

// list returns the packages of a module, sorted by path. What they import is read from all of
// their files but tests, regardless of build constraints, so that every machine draws the same.
func list(folder string) ([]pkg, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Doc,Dir,GoFiles,CgoFiles,IgnoredGoFiles,Module", "./...")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GODEBUG=")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, &complaint)
	}
	var packages []pkg
	module, root := "", ""
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var l struct {
			ImportPath, Name, Doc, Dir        string
			GoFiles, CgoFiles, IgnoredGoFiles []string
			Module                            struct{ Path string }
		}
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		files := slices.DeleteFunc(slices.Concat(l.GoFiles, l.CgoFiles, l.IgnoredGoFiles), func(name string) bool {
			return strings.HasSuffix(name, "_test.go")
		})
		if len(files) == 0 {
			continue // it has nothing but tests
		}
		p := pkg{path: l.ImportPath, command: l.Name == "main", synopsis: l.Doc}
		if p.imports, err = importsOf(l.Dir, files); err != nil {
			return nil, err
		}
		if module = l.Module.Path; p.path == module {
			root = l.Name
		}
		packages = append(packages, p)
	}
	for i := range packages {
		p := &packages[i]
		p.path = within(module, root, p.path)
		p.imports = slices.DeleteFunc(p.imports, func(path string) bool { return path != module && !strings.HasPrefix(path, module+"/") })
		for j := range p.imports {
			p.imports[j] = within(module, root, p.imports[j])
		}
		slices.Sort(p.imports)
	}
	slices.SortFunc(packages, func(a, b pkg) int { return strings.Compare(a.path, b.path) })
	return packages, nil
}

// within turns an import path into a path within the module.
func within(module, root, path string) string {
	if path == module {
		return root
	}
	return strings.TrimPrefix(path, module+"/")
}

// importsOf returns what the files of a folder import, each once.
func importsOf(folder string, files []string) (imports []string, err error) {
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(folder, name), nil, parser.ImportsOnly)
		if err != nil {
			return nil, err
		}
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(imports, path) {
				imports = append(imports, path)
			}
		}
	}
	return imports, nil
}
