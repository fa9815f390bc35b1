package arguments_test

import (
	"crypto/rand"
	"go/ast"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/examples/ownstore/logstore"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/keystore/pgstore"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

// byPath are the calls that open what a path names.
var byPath = map[string]func(path string) error{
	"software: OpenRootFile":   func(path string) error { return errOf(software.OpenRootFile(path)) },
	"keystore/boltstore: Open": func(path string) error { return errOf(boltstore.Open(path, nil)) },
	"keystore/boltstore: Open with Options": func(path string) error {
		return errOf(boltstore.Open(path, new(boltstore.Options)))
	},
	"legacy/keyring: Open":    func(path string) error { return errOf(keyring.Open(path, new(software.Root))) },
	"examples/ownstore: Open": func(path string) error { return errOf(logstore.Open(path)) },
}

// otherwise are the other calls that are given the name of something that is kept.
var otherwise = map[string]string{
	"software: CreateRootFile":   "its name says that it makes the file",
	"legacy/keyring: Create":     "its name says that it makes the file",
	"hsm: Token.CreateRoot":      "its name says that it makes the root",
	"hsm: Token.Root":            "TestMistypedRootOfToken",
	"hsm: Open":                  "it makes the witness of a token, which no key depends on",
	"hsm: Token.Open":            "it is given the ID and the reference of a key",
	"keystore/pgstore: Open":     "TestMistypedTable",
	"keystore/pgstore: OpenPool": "TestMistypedTable",
	"legacy: NameID":             "it computes, and keeps nothing",
}

// TestMistypedPath: with a path that is not there nothing is made, and the error says so. No call that
// opens something by a name is forgotten.
func TestMistypedPath(t *testing.T) {
	t.Parallel()
	for name, open := range byPath {
		folder := t.TempDir()
		require.ErrorIs(t, open(filepath.Join(folder, "typo")), fs.ErrNotExist, name)
		require.ErrorIs(t, open(filepath.Join(folder, "no", "folder")), fs.ErrNotExist, name)
		require.Error(t, open(""), name)
		made, err := os.ReadDir(folder)
		require.NoError(t, err)
		require.Empty(t, made, name)
	}
	for _, folder := range packages {
		functions, _ := exported(t, folder)
		for _, d := range functions {
			name := folder + ": " + d.name
			if byPath[name] == nil && otherwise[name] == "" && !d.forTests() {
				require.False(t, opensByName(d), "%s is in no table of this test", name)
			}
		}
	}
}

// opensByName is a guess by the name of a function and of its parameters. A store and a source are
// given names of items, which are not what is opened.
func opensByName(d declared) bool {
	if receiver, _, isMethod := strings.Cut(d.name, "."); isMethod && (receiver == "Store" || receiver == "Memory" || receiver == "Flaky" ||
		receiver == "Source" || receiver == "Provider") {
		return false
	}
	if strings.HasPrefix(d.function.Name.Name, "Open") {
		return true
	}
	for _, p := range d.function.Type.Params.List {
		kind, ok := p.Type.(*ast.Ident)
		for _, id := range p.Names {
			if ok && kind.Name == "string" && (id.Name == "path" || id.Name == "dsn" || id.Name == "name" || id.Name == "file") {
				return true
			}
		}
	}
	return false
}

// TestMistypedTable: with a table that is not there none is made, unless the options say so.
func TestMistypedTable(t *testing.T) {
	t.Parallel()
	pool := kit.Database(t)
	table := "typo" + strings.ToLower(rand.Text())
	count := func() (n int) {
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_tables WHERE tablename = $1`, table).Scan(&n))
		return n
	}
	for range 2 {
		_, err := pgstore.OpenPool(t.Context(), pool, &pgstore.Options{Table: table})
		require.ErrorIs(t, err, pgstore.ErrNoTable)
		_, err = pgstore.Open(t.Context(), pool.Config().ConnString(), &pgstore.Options{Table: table})
		require.ErrorIs(t, err, pgstore.ErrNoTable)
		require.Zero(t, count())
	}
	for range 2 {
		s, err := pgstore.OpenPool(t.Context(), pool, &pgstore.Options{Table: table, Create: true})
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.Equal(t, 1, count())
	}
	s, err := pgstore.OpenPool(t.Context(), pool, &pgstore.Options{Table: table})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// TestMistypedRootOfToken: with a root that is not in the token none is made.
func TestMistypedRootOfToken(t *testing.T) {
	_, token := kit.OpenToken(t)
	for range 2 {
		_, err := token.Root(t.Context(), "typo")
		require.ErrorIs(t, err, provider.ErrNoKey)
	}
	_, err := token.CreateRoot(t.Context(), "typo")
	require.NoError(t, err)
	_, err = token.CreateRoot(t.Context(), "typo")
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = token.Root(t.Context(), "typo")
	require.NoError(t, err)
}

// TestCreateOpensToo: with Create, a file that is there is opened, and none is emptied.
func TestCreateOpensToo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.db")
	s, err := boltstore.Open(path, &boltstore.Options{Create: true})
	require.NoError(t, err)
	_, err = s.Put(t.Context(), "key/a", "", []byte("one"))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for _, opts := range []*boltstore.Options{nil, {Create: true}} {
		s, err := boltstore.Open(path, opts)
		require.NoError(t, err)
		item, err := s.Get(t.Context(), "key/a")
		require.NoError(t, err)
		require.Equal(t, "one", string(item.Value))
		require.NoError(t, s.Close())
	}
}
