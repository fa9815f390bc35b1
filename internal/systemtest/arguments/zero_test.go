package arguments_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/keystore/keystoretest"
	"github.com/keyhold/kms/keystore/pgstore"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/legacy/legacytest"
	"github.com/keyhold/kms/legacy/tinkset"
	"github.com/keyhold/kms/legacy/transit"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
	"github.com/keyhold/kms/tinkkms"
)

// types are the exported types of the packages, each as its zero value.
var types = map[string][]any{
	"software": {software.Root{}, software.Provider{}},
	"hsm":      {&hsm.Token{}, hsm.Root{}, hsm.Config{}, hsm.Error{}, hsm.Health{}, hsm.Object{}},
	"tinkkms":  {tinkkms.KeyAEAD{}, tinkkms.Client{}},
	"kmstest":  {&kmstest.KMS{}, &kmstest.Clock{}},
	"provider": {provider.Spec(""), provider.Use(""), provider.SigningAlgorithm(""), provider.MacAlgorithm("")},
	"keystore": {&keystore.Memory{}, keystore.DiffersError{}, keystore.CopyOptions{}, keystore.CopyProgress{}, keystore.Item{},
		keystore.Version(""), keystore.Cursor(0)},
	"keystore/boltstore":    {&boltstore.Store{}, boltstore.Options{}},
	"keystore/pgstore":      {&pgstore.Store{}, pgstore.Options{}},
	"keystore/keystoretest": {&keystoretest.Flaky{}, keystoretest.Driver{}, keystoretest.Call{}, keystoretest.Calls{}, keystoretest.Method("")},
	"legacy":                {legacy.Key{}, legacy.Version{}, legacy.List{}, legacy.OpenerFunc(nil)},
	"legacy/keyring":        {keyring.Source{}},
	"legacy/tinkset":        {tinkset.Source{}, tinkset.Keyset{}},
	"legacy/transit":        {transit.Source{}, transit.Export{}},
	"legacy/legacytest":     {legacytest.Subject{}, legacytest.Known{}},
}

// noNil are the types whose nil pointer is a fault of a test, which a panic ends.
var noNil = map[string]bool{"kmstest.KMS": true, "kmstest.Clock": true, "keystoretest.Flaky": true}

// TestTypesAreListed: no exported type is forgotten.
func TestTypesAreListed(t *testing.T) {
	t.Parallel()
	for _, folder := range packages {
		_, want := exported(t, folder)
		var got []string
		for _, zero := range types[folder] {
			got = append(got, typeOf(zero).Name())
		}
		require.ElementsMatch(t, want, got, folder)
	}
}

func typeOf(zero any) reflect.Type {
	if kind := reflect.TypeOf(zero); kind.Kind() == reflect.Pointer {
		return kind.Elem()
	} else {
		return kind
	}
}

// TestZeroValues: no method of a zero value, or of a nil pointer, panics, whatever it is given of no
// use; where the call cannot be done the error is one that callers can match.
func TestZeroValues(t *testing.T) {
	t.Parallel()
	called := 0
	for folder, zeros := range types {
		functions, _ := exported(t, folder)
		for _, zero := range zeros {
			kind := typeOf(zero)
			receivers := []reflect.Value{reflect.New(kind)}
			if !noNil[kind.String()] {
				receivers = append(receivers, reflect.Zero(reflect.PointerTo(kind)))
			}
			for _, d := range functions {
				method, ok := strings.CutPrefix(d.name, kind.Name()+".")
				if !ok || d.forTests() {
					continue
				}
				for _, receiver := range receivers {
					byValue, _ := kind.MethodByName(method)
					if receiver.IsNil() && byValue.Func.IsValid() {
						continue // to call it dereferences the pointer in the caller's code
					}
					called++
					answers(t, folder+": "+d.name, receiver.MethodByName(method), nil)
				}
			}
		}
	}
	require.Greater(t, called, 60)
}

// answers calls a function with the zero values of its parameters, but for those that are given.
func answers(t *testing.T, name string, f reflect.Value, given map[int]any) {
	t.Helper()
	require.True(t, f.IsValid(), name)
	kind := f.Type()
	var args []reflect.Value
	for i := range kind.NumIn() {
		arg := reflect.Zero(kind.In(i))
		if value, ok := given[i]; ok && value != nil {
			arg = reflect.ValueOf(value)
		} else if kind.In(i) == reflect.TypeFor[context.Context]() {
			arg = reflect.ValueOf(background)
		}
		if kind.IsVariadic() && i == kind.NumIn()-1 && arg.IsZero() {
			break
		}
		args = append(args, arg)
	}
	var results []reflect.Value
	require.NotPanics(t, func() { results = f.Call(args) }, name)
	for _, result := range results {
		var err error
		switch value := result.Interface().(type) {
		case error:
			err = value
		case func() keystore.Cursor:
			require.NotPanics(t, func() { value() }, name)
		case iter.Seq2[keystore.Item, error]:
			err = last(t, name, value)
		case iter.Seq2[legacy.Key, error]:
			err = last(t, name, value)
		}
		if err != nil && !strings.HasSuffix(name, ".Unwrap") {
			require.True(t, matched(err), "%s answers with what nobody can match: %v", name, err)
		}
	}
}

func last[T any](t *testing.T, name string, loop iter.Seq2[T, error]) (last error) {
	t.Helper()
	require.NotPanics(t, func() {
		for _, err := range loop {
			last = err
		}
	}, name)
	return last
}

// matched reports whether an error is one that a package of this module, or the standard library,
// promises.
func matched(err error) bool {
	var unreachable *pgconn.ConnectError
	return errors.As(err, &unreachable) || slices.ContainsFunc([]error{
		software.ErrNoRoot, software.ErrRootKey, software.ErrRootFile, software.ErrRootCiphertext, software.ErrPassphrase,
		hsm.ErrConfig, provider.ErrUnsupported, provider.ErrNoKey, provider.ErrCiphertext, provider.ErrUnavailable,
		kms.ErrInvalid, kms.ErrNotFound, kms.ErrCiphertext, keystore.ErrClosed, keystore.ErrNotFound, keystore.ErrConflict, keystore.ErrGap,
		pgstore.ErrConfig, pgstore.ErrNoTable, legacy.ErrKey, legacy.ErrMaterial, legacy.ErrUnsupported, legacy.ErrCiphertext,
		keyring.ErrFile, keyring.ErrKeys, tinkset.ErrKeyset, transit.ErrExport,
		fs.ErrNotExist, fs.ErrExist, fs.ErrInvalid, errors.ErrUnsupported,
	}, func(known error) bool { return errors.Is(err, known) })
}

// A sound function is called with arguments that are of use, and then with each of them in turn nil or
// zero. A context is always one.
type sound struct {
	f    any
	args []any
}

// functions are the exported functions of the packages that take no test.
func functions(t *testing.T) map[string]sound {
	t.Helper()
	random := make([]byte, 32)
	_, _ = rand.Read(random)
	root, err := software.NewRoot(random)
	require.NoError(t, err)
	folder := t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	version := keyring.NewVersion("8bc5dc61-4fcb-4d36-8a92-c32a6c3c48e2", time.Now(), random)
	key := legacy.Key{ID: "cfb41abe-c92d-4a24-9b45-5d1d5cd5a9a6", Versions: []legacy.Version{version}}
	k := kmstest.New(t)
	pin := hsm.Config{Module: in("no such module"), TokenLabel: "none", PIN: func() (string, error) { return "", nil }}
	return map[string]sound{
		"software: New":                   {software.New, nil},
		"software: NewRoot":               {software.NewRoot, []any{random}},
		"software: NewRootFromPassphrase": {software.NewRootFromPassphrase, []any{random}},
		"software: OpenRootFile":          {software.OpenRootFile, []any{in("root")}},
		"software: CreateRootFile":        {software.CreateRootFile, []any{in("root")}},
		"hsm: Open":                       {hsm.Open, []any{nil, pin}},
		"tinkkms: NewClient":              {tinkkms.NewClient, []any{k.Manager}},
		"tinkkms: AEAD":                   {tinkkms.AEAD, []any{k.Manager, kms.DefaultKey}},
		"keystore: Copy":                  {keystore.Copy, []any{nil, new(keystore.Memory), new(keystore.Memory), new(keystore.CopyOptions)}},
		"keystore: FeedOf":                {keystore.FeedOf, []any{new(keystore.Memory)}},
		"keystore: LocalOf":               {keystore.LocalOf, []any{new(keystore.Memory)}},
		"keystore: WatcherOf":             {keystore.WatcherOf, []any{new(keystore.Memory)}},
		"keystore/boltstore: Open":        {boltstore.Open, []any{in("keys.db"), &boltstore.Options{Create: true}}},
		"keystore/pgstore: Open":          {pgstore.Open, []any{nil, "postgres://127.0.0.1:1/none?sslmode=disable", new(pgstore.Options)}},
		"keystore/pgstore: OpenPool":      {pgstore.OpenPool, []any{nil, nil, new(pgstore.Options)}},
		"keystore/keystoretest: NewFlaky": {keystoretest.NewFlaky, []any{new(keystore.Memory)}},
		"legacy: NameID":                  {legacy.NameID, []any{"scheme", "name"}},
		"legacy: NewList":                 {legacy.NewList, []any{key}},
		"legacy: NewVersion":              {legacy.NewVersion, []any{"a", time.Now(), random}},
		"legacy: ValidID":                 {legacy.ValidID, []any{key.ID}},
		"legacy: ValidScheme":             {legacy.ValidScheme, []any{"scheme"}},
		"legacy: ValidLocator":            {legacy.ValidLocator, []any{"locator"}},
		"legacy/keyring: NewVersion":      {keyring.NewVersion, []any{version.Locator, time.Now(), random}},
		"legacy/keyring: New":             {keyring.New, []any{key}},
		"legacy/keyring: Create":          {keyring.Create, []any{in("keyring"), root, key}},
		"legacy/keyring: Open":            {keyring.Open, []any{in("keyring"), root}},
		"legacy/tinkset: New":             {tinkset.New, []any{tinkset.Keyset{Name: "name", Handle: new(keyset.Handle)}}},
		"legacy/transit: New":             {transit.New, []any{transit.Export{Key: []byte(`{}`)}}},
	}
}

// TestUselessArguments: no function panics when an argument is nil or zero, and no function is
// forgotten.
func TestUselessArguments(t *testing.T) {
	t.Parallel()
	table := functions(t)
	for _, folder := range packages {
		all, _ := exported(t, folder)
		for _, d := range all {
			if strings.Contains(d.name, ".") || d.forTests() {
				continue
			}
			name := folder + ": " + d.name
			row, ok := table[name]
			require.True(t, ok, "%s is not in the table", name)
			delete(table, name)
			f := reflect.ValueOf(row.f)
			if f.Type().NumIn() > 0 {
				answers(t, name, f, nil)
			}
			for useless := range row.args {
				given := map[int]any{}
				for i, arg := range row.args {
					if i != useless {
						given[i] = arg
					}
				}
				if f.Type().IsVariadic() { // reflect takes what is variadic one by one
					delete(given, f.Type().NumIn()-1)
				}
				answers(t, fmt.Sprintf("%s without argument %d", name, useless), f, given)
			}
		}
	}
	require.Empty(t, table, "functions that are no more")

	// Values of no use among what is variadic, and those that are not nil.
	for name, err := range map[string]error{
		"a key":               errOf(keyring.New(legacy.Key{})),
		"a list":              errOf(legacy.NewList(legacy.Key{})),
		"a keyset":            errOf(tinkset.New(tinkset.Keyset{})),
		"a handle":            errOf(tinkset.New(tinkset.Keyset{Name: "name", Handle: new(keyset.Handle)})),
		"an export":           errOf(transit.New(transit.Export{})),
		"a root of a keyring": keyring.Create(filepath.Join(t.TempDir(), "keyring"), new(software.Root)),
		"a nil root":          keyring.Create(filepath.Join(t.TempDir(), "keyring"), (*software.Root)(nil)),
	} {
		require.Error(t, err, name)
		require.True(t, matched(err), "%s: %v", name, err)
	}
}

func errOf[T any](_ T, err error) error { return err }

// TestUselessRoot: a root that no function made seals nothing, and no Manager opens over it, be the
// store new or not.
func TestUselessRoot(t *testing.T) {
	t.Parallel()
	k := kmstest.New(t)
	for _, store := range []keystore.Store{new(keystore.Memory), k.Store} {
		for _, root := range []kms.Root{new(software.Root), (*software.Root)(nil), new(hsm.Root), (*hsm.Root)(nil)} {
			_, err := kms.Open(t.Context(), kms.Config{Store: store, Root: root, Software: software.New()})
			require.Error(t, err)
			require.True(t, errors.Is(err, kms.ErrRoot) || errors.Is(err, kms.ErrInvalid), err)
		}
	}
	key := k.MustCreateKey(t)
	require.Error(t, k.RotateRoot(t.Context(), new(software.Root)))
	_, err := k.Encrypt(t.Context(), key.ID, []byte("x"), nil)
	require.NoError(t, err, "nothing has changed")
	_, err = k.Another(t).Encrypt(t.Context(), key.ID, []byte("x"), nil)
	require.NoError(t, err)
}
