package kms_test

import (
	"go/ast"
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
