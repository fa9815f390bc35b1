package kms_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// yieldsSecret are the calls whose first result is a secret in a buffer of the caller's, by the end of
// what is called. A function that returns such a result is one of them, under its own name.
var yieldsSecret = []string{
	// of the standard library and other modules
	"x509.MarshalPKCS8PrivateKey", "rsa.DecryptOAEP", "hkdf.Expand", "argon2.IDKey", "private.Bytes", "private.Seed", "k.Bytes",
	// of the packages behind the root
	"cleartext.Bytes", "cleartext.Write", "kwp.Unwrap", "privatefile.Read", "newKeyset", "keysetOf", "writeKeyset", "formatRootFile",
	"v.Material", "].Material", "encodeMaterial", "s.encode", "k.unseal", "s.oaep",
	// of the root package, and what it calls
	"wrapping.Unwrap", "wrapping.DecodeToken", "}.Encode", ".keys.Open", "rec.unseal", "rec.unsealBy", "root.Decrypt", "recipient.Decrypt",
	"m.bind", "workingKey", "r.openToken", "m.material", "from.Open", "p.Generate", "importer.Import",
}

// returnsSecret are the functions that may return what such a call yields, each with who wipes it.
var returnsSecret = map[string]string{
	"newKeyset": "Generate", "keysetOf": "Import", "writeKeyset": "Generate and Import", "alone": "versionsOf",
	"material": "whoever opens or destroys a key version", "Unwrap": "ImportKeyMaterial", "unwrap": "ImportKeyMaterial", "unwrapKWP": "unwrap", "everyStep": "unwrap",
	"Read": "importMaterial", "bind": "importMaterial", "workingKey": "importVersion", "openToken": "ImportKeyMaterial, with its wipe",
	"unseal": "open, carry and BackupInstance", "unsealBy": "unseal and openedBy", "Encode": "sealToken",
	"Bytes": "the callers of package cleartext", "Write": "the callers of package cleartext",
	"DecryptOAEP": "the caller's program: it is a plaintext", "openRSA": "the caller's program: it is a plaintext",
	"NewRootFromPassphrase": "passphraseRoot.key",
	"Decrypt":               "the caller's program: it is a plaintext", "Open": "the callers of a cipher",
}

// takesOverSecret are the calls that wipe a secret that they are given, or keep it as long as they are
// in use.
var takesOverSecret = []string{"sealing.Derive", "rec.setKey", "m.keepVersion"}

// noSecret are the functions in which such a call yields something that anybody may know.
var noSecret = map[string]string{
	"try": "what it opens is zeros, or random bytes of its own",
}

// TestHouseSecrets: a secret that a function gets is wiped there, or handed on to a function of these
// lists. What is looked at is the syntax: that a clear stands there, not that every path comes to it.
func TestHouseSecrets(t *testing.T) {
	t.Parallel()
	looked := map[string]bool{}
	for _, f := range librarySources(t) {
		if strings.HasPrefix(f.folder, "examples") || strings.HasSuffix(f.folder, "test") || f.folder == "internal/kit" {
			continue // what is of tests has secrets of tests
		}
		for _, d := range f.Decls {
			name, body := declaredBody(d)
			if body == nil {
				continue
			}
			s := secretsIn(name, body)
			for _, source := range s.found {
				looked[source] = true
			}
			if noSecret[name] != "" {
				continue
			}
			for _, n := range s.left {
				t.Errorf("%s: %s keeps a secret that it neither wipes nor hands on: %s", f.set.Position(n.Pos()), name, types.ExprString(n.Fun))
			}
		}
	}
	for _, source := range yieldsSecret {
		require.True(t, looked[source], "nothing calls %s any more", source)
	}
}

// TestHouseSecretsFinds: the check finds what it is for.
func TestHouseSecretsFinds(t *testing.T) {
	t.Parallel()
	for text, left := range map[string]int{
		`func f() { b, err := x509.MarshalPKCS8PrivateKey(k); use(b, err) }`:                          1,
		`func f() { b, err := x509.MarshalPKCS8PrivateKey(k); defer clear(b); use(b, err) }`:          0,
		`func f() { defer func() { clear(b) }(); b, _ = x509.MarshalPKCS8PrivateKey(k) }`:             0,
		`func f() { b, err := x509.MarshalPKCS8PrivateKey(k); clear(c) }`:                             1,
		`func f() []byte { return cleartext.Bytes(k) }`:                                               1,
		`func Unwrap() []byte { return cleartext.Bytes(k) }`:                                          0,
		`func Unwrap() []byte { b := cleartext.Bytes(k); return b }`:                                  0,
		`func f() { use(cleartext.Bytes(k)) }`:                                                        1,
		`func f() { sealing.Derive(cleartext.Bytes(k)) }`:                                             0,
		`func f() { a, b := cleartext.Bytes(k), cleartext.Bytes(l); clear(a) }`:                       1,
		`func f() { t, wipe, err := r.openToken(c, b); defer wipe(); use(t) }`:                        0,
		`func f() { t, wipe, err := r.openToken(c, b); use(t, wipe) }`:                                1,
		`func f() { t.Private, err = x509.MarshalPKCS8PrivateKey(k); clear(t.Private) }`:              0,
		`func f() { if b, err := r.keys.Open(p, s); err == nil { use(b) } }`:                          1,
		`func f() { _, err := x509.MarshalPKCS8PrivateKey(k); use(err) }`:                             1,
		`func f() { var g = func() []byte { return cleartext.Bytes(k) }; use(g) }`:                    1,
		`func f() { key, err := root.Decrypt(s, c); defer clear(key); keep(sealing.Derive(i, key)) }`: 0,
	} {
		f := parsed(t, text)
		name, body := declaredBody(f.Decls[0])
		require.Len(t, secretsIn(name, body).left, left, text)
	}
}

func declaredBody(d ast.Decl) (name string, body ast.Node) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Body != nil {
			return d.Name.Name, d.Body
		}
	case *ast.GenDecl: // a variable whose value is functions
		if spec, ok := d.Specs[0].(*ast.ValueSpec); ok {
			return spec.Names[0].Name, d
		}
	}
	return "", nil
}

// secrets are the calls of a function that yield a secret, and those whose secret stays behind.
type secrets struct {
	found []string
	left  []*ast.CallExpr
}

func secretsIn(name string, body ast.Node) (s secrets) {
	wiped, returned := map[string]bool{}, map[string]bool{}
	handled := map[*ast.CallExpr]bool{}
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			callee := types.ExprString(n.Fun)
			if callee == "wipe" { // what came with a secret, to wipe it
				wiped["wipe"] = true
			}
			if callee == "clear" || endsWithAny(callee, takesOverSecret) != "" {
				for _, arg := range n.Args {
					wiped[types.ExprString(arg)] = true
					if inner, ok := arg.(*ast.CallExpr); ok {
						handled[inner] = true
					}
				}
			}
		case *ast.ReturnStmt:
			for _, result := range n.Results {
				ast.Inspect(result, func(n ast.Node) bool {
					if inner, ok := n.(*ast.CallExpr); ok {
						handled[inner] = handled[inner] || returnsSecret[name] != ""
					}
					if e, ok := n.(ast.Expr); ok {
						returned[types.ExprString(e)] = true
					}
					return true
				})
			}
		}
		return true
	})
	kept := func(e ast.Expr) bool {
		at := types.ExprString(e)
		return wiped[at] || returned[at] && returnsSecret[name] != ""
	}
	ast.Inspect(body, func(n ast.Node) bool {
		if assigned, ok := n.(*ast.AssignStmt); ok {
			for i, right := range assigned.Rhs {
				if call, ok := right.(*ast.CallExpr); ok {
					comesWithWipe := len(assigned.Rhs) == 1 && slices.ContainsFunc(assigned.Lhs, func(e ast.Expr) bool { return types.ExprString(e) == "wipe" })
					handled[call] = handled[call] || kept(assigned.Lhs[i]) || comesWithWipe && wiped["wipe"]
				}
			}
		}
		return true
	})
	ast.Inspect(body, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if source := endsWithAny(types.ExprString(call.Fun), yieldsSecret); source != "" {
				s.found = append(s.found, source)
				if !handled[call] {
					s.left = append(s.left, call)
				}
			}
		}
		return true
	})
	return s
}

// endsWithAny returns the first of some endings that a name has, at the border of a word.
func endsWithAny(name string, endings []string) string {
	at := slices.IndexFunc(endings, func(ending string) bool {
		before, ok := strings.CutSuffix(name, ending)
		return ok && (before == "" || !isLetter(before[len(before)-1]) || !isLetter(ending[0]))
	})
	if at < 0 {
		return ""
	}
	return endings[at]
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

func parsed(t *testing.T, text string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+text, parser.SkipObjectResolution)
	require.NoError(t, err)
	return f
}
