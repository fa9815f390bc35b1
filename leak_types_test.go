package kms_test

import (
	"crypto/fips140"
	"go/ast"
	"path"
	"reflect"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/reach"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// leakRest adds what imports, rotations and keys that sign hand out, and the options of calls.
func leakRest(t *testing.T, secrets map[string][]byte, values map[string][]any) {
	ctx, k := t.Context(), kmstest.New(t)
	secrets["material of an owner"] = randomBytes(32)
	id := externalKey(t, k)
	p, err := k.GetParametersForImport(ctx, id, &kms.ImportOptions{Algorithm: kms.WrapAESKeyWrap})
	require.NoError(t, err)
	wrapped, err := kms.WrapForImport(p, secrets["material of an owner"])
	require.NoError(t, err)
	require.NoError(t, only(k.ImportKeyMaterial(ctx, id, wrapped, p.Token, time.Time{})))
	err = only(k.ImportKeyMaterial(ctx, id, secrets["material of an owner"], p.Token, time.Time{}))
	require.ErrorIs(t, err, kms.ErrMaterial)
	_, errWrap := kms.WrapForImport(kms.ImportParameters{}, secrets["material of an owner"])
	require.Error(t, errWrap)
	values["ImportParameters"], values["errors of imports"] = nested(p), append(nested(err), nested(errWrap)...)
	for _, spec := range []kms.Spec{kms.SpecECP256, kms.SpecMLDSA65} {
		key, err := k.CreateKey(ctx, &kms.CreateKeyOptions{Spec: spec})
		if fips140.Enforced() && err != nil {
			continue
		}
		require.NoError(t, err)
		public, err := k.GetPublicKey(ctx, key.ID)
		require.NoError(t, err)
		signer, err := k.Signer(ctx, key.ID)
		require.NoError(t, err)
		values["PublicKey of "+string(spec)] = []any{public, &public, signer.Public()}
	}
	versions, err := k.KeyVersions(ctx, id)
	require.NoError(t, err)
	report, err := k.Rewrap(ctx, id, shelf{}.items, shelf{}.put, nil)
	require.NoError(t, err)
	values["KeyVersions"], values["RewrapReport"], values["Wrapped"] = nested(versions), nested(report), nested(kms.Wrapped{Ciphertext: wrapped})
	receipt, err := k.DeletionReceipt(ctx, pendingKey(t, k))
	require.NoError(t, err)
	require.NotEmpty(t, receipt.Reached)
	values["DeletionReceipt"] = append(nested(receipt), nested(receipt.Reached[0])...)
	values["more options"] = []any{
		kms.DeletionLevel4,
		kms.ImportOptions{}, kms.InstanceOptions{}, kms.BackupOptions{}, kms.ReleaseOptions{}, kms.RestoreOptions{}, kms.RewrapOptions{},
		kms.Tombstone{KeyID: id}, kms.SkipReason(""), kms.MacHMACSHA256, kms.SignEd25519, kms.MLDSAPublicKey{},
	}
}

// TestEveryTypeIsSwept: of each exported type of the root package the sweep prints a value, so
// that a new type is swept, or it is said why not.
func TestEveryTypeIsSwept(t *testing.T) {
	_, values := leakCase(t)
	swept, reached := map[string]bool{}, new(reach.Walker)
	for _, vs := range values {
		for _, v := range vs {
			reached.Walk(v, func(v reflect.Value) { addType(v.Type(), swept) })
		}
	}
	found := 0
	for _, f := range librarySources(t) {
		if f.folder != "." {
			continue
		}
		for _, decl := range f.Decls {
			types, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range types.Specs {
				s, ok := spec.(*ast.TypeSpec)
				if !ok || !s.Name.IsExported() || s.Assign.IsValid() { // an alias is another package's
					continue
				}
				found++
				if !swept["kms."+s.Name.Name] {
					t.Errorf("%s: no value of %s is swept: add one to leakRest", f.path, s.Name.Name)
				}
			}
		}
	}
	require.Greater(t, found, 40)
}

// addType adds a type, and those of what could be in a value of it.
func addType(t reflect.Type, types map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		addType(t.Elem(), types)
	}
	if t.PkgPath() == houseModule {
		types[path.Base(t.PkgPath())+"."+t.Name()] = true
	}
}
