package kms_test

import (
	"go/ast"
	"go/types"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// forbidden are packages that nothing in the library may import, each with the reason. An entry
// stands for what is under it, too.
var forbidden = map[string]string{
	"encoding/gob": "a decoder that recurses and allocates as its input says",
	"encoding/xml": "the same",
	"compress":     "what is small may unpack to what is large, and lengths tell of contents",
	"archive":      "names in it lead elsewhere",
	"math/rand":    "not for anything here",
	"crypto/rc4":   "broken", "crypto/des": "broken", "crypto/md5": "broken", "crypto/dsa": "broken", "crypto/sha1": "broken",
	"github.com/tink-crypto/tink-go/v2/daead":         "equal plaintexts show",
	"github.com/tink-crypto/tink-go/v2/streamingaead": "no commitment",
	"github.com/tink-crypto/tink-go/v2/hybrid":        "no commitment",
}

// unauthenticated are modes of crypto/cipher without a tag, and Tink's envelope, which does not
// bind its data key to what is sealed with it.
var unauthenticated = []string{
	"NewCBCEncrypter", "NewCBCDecrypter", "NewCTR", "NewOFB", "NewCFBEncrypter", "NewCFBDecrypter",
	"NewKMSEnvelopeAEAD", "NewKMSEnvelopeAEAD2", "NewKMSEnvelopeAEADWithContext", "CreateKMSEnvelopeAEADKeyTemplate",
}

// TestHouseForbidden: what is never imported and never called, except in examples.
func TestHouseForbidden(t *testing.T) {
	t.Parallel()
	for _, f := range librarySources(t) {
		if strings.HasPrefix(f.folder, "examples/") {
			continue
		}
		for _, imported := range f.imported() {
			for name, why := range forbidden {
				if imported == name || strings.HasPrefix(imported, name+"/") {
					t.Errorf("%s imports %s: %s", f.path, imported, why)
				}
			}
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			if called, ok := n.(*ast.SelectorExpr); ok && slices.Contains(unauthenticated, called.Sel.Name) {
				t.Errorf("%s uses %s", f.path, called.Sel.Name)
			}
			return true
		})
	}
}

var nonceName = regexp.MustCompile(`(?i)^(nonce|iv|salt|counter)s?$|nonce`)

// TestHouseNonces: nothing exported takes a nonce, by a parameter, a field or a name: whoever
// could choose one could use it twice.
func TestHouseNonces(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, f := range librarySources(t) {
		if strings.HasPrefix(f.folder, "internal/") || strings.Contains(f.folder, "/internal/") {
			continue
		}
		check := func(fields *ast.FieldList, of string, hidden bool) {
			if fields == nil {
				return
			}
			for _, field := range fields.List {
				for _, name := range field.Names {
					seen++
					if (hidden || name.IsExported()) && nonceName.MatchString(name.Name) {
						t.Errorf("%s: %s takes %s", f.path, of, name.Name)
					}
				}
			}
		}
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || receiver(d).IsExported()) {
					check(d.Type.Params, d.Name.Name, true)
					require.NotRegexp(t, nonceName, d.Name.Name, f.path)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					s, ok := spec.(*ast.TypeSpec)
					if !ok || !s.Name.IsExported() {
						continue
					}
					switch kind := s.Type.(type) {
					case *ast.StructType:
						check(kind.Fields, s.Name.Name, false)
					case *ast.InterfaceType:
						for _, m := range kind.Methods.List {
							if fn, ok := m.Type.(*ast.FuncType); ok {
								check(fn.Params, path.Join(s.Name.Name, m.Names[0].Name), true)
							}
						}
					}
				}
			}
		}
	}
	require.Greater(t, seen, 300)
}

// writesDropped are the calls of a method Write whose count or error nobody looks at, by file and
// receiver, each with the reason.
var writesDropped = map[string]string{
	"backup.go d": aHash, "import_binding.go h": aHash, "legacy.go h": aHash, "sign.go h": aHash, "internal/sealing/item.go h": aHash, "hsm/oaep.go digest": aHash,
	"plan.go b": aBuilder, "refusal.go b": aBuilder, "internal/drawing/draw.go text": aBuilder, "internal/leaktest/leaktest.go out": aBuilder,
	"internal/testlog/log.go l.said[name]": aBuilder, "legacy/legacytest/secret.go out": aBuilder, "provider/providertest/material.go printable": aBuilder,
	"backup.go w": "frames.StrictWriter", "internal/frames/frames.go f.w": "frames.StrictWriter", "backup_items.go w": "a frames.Writer",
	"internal/privatefile/privatefile.go f": "an os.File returns an error with every short write",
	"internal/drawing/main.go io":           "the terminal", "internal/notrun/notrun.go io": "the terminal",
}

const (
	aHash    = "a hash takes everything"
	aBuilder = "a strings.Builder and a bytes.Buffer take everything"
)

// TestHouseWrites: no result of a Write is dropped. Where the count alone is, the writer is one that
// returns an error with every short write.
func TestHouseWrites(t *testing.T) {
	t.Parallel()
	unseen := maps.Clone(writesDropped)
	dropped := func(f houseFile, call *ast.CallExpr) {
		selected, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Write", "WriteString", "WriteByte", "WriteRune"}, selected.Sel.Name) {
			return
		}
		where := f.path + " " + types.ExprString(selected.X)
		if writesDropped[where] == "" {
			t.Errorf("%s: a result of %s is dropped", where, selected.Sel.Name)
		}
		delete(unseen, where)
	}
	for _, f := range librarySources(t) {
		if strings.HasPrefix(f.folder, "examples/") || strings.HasPrefix(f.folder, "internal/kit") || strings.HasPrefix(f.folder, "internal/pgtest") {
			continue
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ExprStmt:
				if call, ok := n.X.(*ast.CallExpr); ok {
					dropped(f, call)
				}
			case *ast.AssignStmt:
				call, ok := n.Rhs[0].(*ast.CallExpr)
				for _, left := range n.Lhs {
					if name, blank := left.(*ast.Ident); ok && blank && name.Name == "_" {
						dropped(f, call)
					}
				}
			}
			return true
		})
	}
	require.Empty(t, unseen, "these are dropped no more")
}
