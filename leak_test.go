package kms_test

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/internal/reach"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// TestNoSecretIsPrinted prints all that the packages hand out and all that they hold, in
// every way, and finds no 16 bytes of any secret: the root key and passphrase, the instance
// key and what is derived from it, the material of a key, a plaintext, a data key.
func TestNoSecretIsPrinted(t *testing.T) {
	secrets, values := leakCase(t)
	s := scanner{}
	for name, secret := range secrets {
		require.GreaterOrEqual(t, len(secret), 16, name)
		s.add(name, secret)
	}
	for name, vs := range values {
		for _, leak := range s.sweep(name, vs) {
			t.Error(leak)
		}
	}
}

type noKey struct{}

// leakCase makes a service with known secrets, and collects the values.
func leakCase(t *testing.T) (secrets map[string][]byte, values map[string][]any) {
	ctx := t.Context()
	random := func(n int) []byte {
		b := make([]byte, n)
		_, _ = rand.Read(b)
		return b
	}
	secrets = map[string][]byte{"root key": random(32), "plaintext": random(64), "file key": random(32)}
	values = map[string][]any{}
	root, err := software.NewRoot(secrets["root key"])
	require.NoError(t, err)
	values["Root of a key"] = append(nested(root), nested(*root)...)
	leakRoots(t, secrets, values)

	var events []kms.Event
	var requests []kms.Request
	k := kmstest.New(t, func(c *kms.Config) {
		c.Root, c.CacheKeys = root, 4
		c.Observe = func(_ context.Context, e kms.Event) { events = append(events, e) }
		c.Authorize = func(_ context.Context, r kms.Request) error { requests = append(requests, r); return nil }
	})
	plain, ec := secrets["plaintext"], kms.EncryptionContext{"tenant": "7"}
	key, err := k.CreateKey(ctx, &kms.CreateKeyOptions{Description: "invoices", Tags: map[string]string{"team": "billing"}})
	require.NoError(t, err)
	require.NoError(t, k.CreateAlias(ctx, "alias/invoices", key.ID))
	ciphertext, err := k.Encrypt(ctx, key.ID, plain, ec)
	require.NoError(t, err)
	dataKey, err := k.GenerateDataKey(ctx, key.ID, ec)
	require.NoError(t, err)
	secrets["data key"] = slices.Clone(dataKey.Plaintext())
	info, err := kms.Inspect(dataKey.Ciphertext)
	require.NoError(t, err)
	for name, err := range leakErrors(t, k, key.ID, plain, ciphertext, dataKey) {
		require.Error(t, err, name)
		values["error: "+name] = nested(err)
	}
	leakInstances(t, k, root, key.ID, secrets, values)
	leakRest(t, secrets, values)
	report, err := k.Maintain(ctx)
	require.NoError(t, err)

	dump := map[string][]byte{}
	for item, err := range k.Store.List(ctx, "", "") {
		require.NoError(t, err)
		if bytes.HasPrefix(item.Value, []byte("\x01\x07default")) {
			dump[item.Name] = item.Value
		}
		values["keystore.Item"] = append(values["keystore.Item"], nested(item)...)
	}
	if !fips140.Enforced() {
		opened := openByHand(t, secrets["root key"], dump)
		secrets["instance key"], secrets["seal key"], secrets["record key"] = opened.instanceKey, opened.sealKey, opened.macKey
		secrets["material"] = opened.materials[key.ID][1].key
	}
	require.NoError(t, kit.Err(k.Decrypt(ctx, ciphertext, ec))) // the key is in memory again
	for name, v := range kms.Insides(k.Manager, key.ID) {
		values["inside: "+name] = nested(v)
	}
	for _, v := range []any{k.Keys(ctx, nil), k.Aliases(ctx, key.ID), context.WithValue(ctx, noKey{}, dataKey)} {
		values["iterators and contexts"] = append(values["iterators and contexts"], nested(v)...)
	}
	wiped, err := k.GenerateDataKey(ctx, key.ID, nil)
	require.NoError(t, err)
	wiped.Wipe()
	values["DataKey"] = append(append(nested(dataKey), nested(&dataKey)...), nested(wiped)...)
	values["Manager"], values["kmstest.KMS"], values["Store"] = nested(k.Manager), nested(k), nested(k.Store)
	values["Config"], values["CiphertextInfo"], values["Used"] = nested(k.ConfigWith()), nested(info), nested(kms.Used{KeyID: key.ID, KeyVersion: 1})
	values["Key"], values["Report"], values["Alias"] = nested(key), nested(report), nested(kms.Alias{Name: "alias/a", KeyID: key.ID})
	values["events"], values["requests"] = nested(events), nested(requests)
	values["options"] = append(nested(kms.ListOptions{States: []kms.State{kms.Enabled}}), nested(&kms.CreateKeyOptions{Description: "x"})...)
	require.Greater(t, len(events), 10)
	require.Greater(t, len(requests), 10)
	return secrets, values
}

// leakInstances adds instances, services, keys of another system, and what is told of keys.
func leakInstances(t *testing.T, k *kmstest.KMS, root kms.Root, keyID string, secrets map[string][]byte, values map[string][]any) {
	ctx := t.Context()
	old := kit.OldKeyring(t, "leaks", 1)
	secrets["material of another system"] = kit.OldMaterial("leaks", legacy.NameID("test", "leaksa"))
	source := nested(old.Source)
	m := k.Another(t, kit.WithSources(old.Source))
	in, err := m.CreateInstance(ctx, &kms.InstanceOptions{ID: "tenant-7", Name: "Tenant 7"})
	require.NoError(t, err)
	inner, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "tenant-7"})
	require.NoError(t, err)
	require.NoError(t, kit.Err(m.Encrypt(ctx, inner.ID, secrets["plaintext"], nil)))
	require.NoError(t, kit.Err(m.Decrypt(ctx, old.Ciphertexts[0], old.EC)))
	_, err = m.MigrateLegacyKey(ctx, old.ID, "tenant-7")
	require.NoError(t, err)
	require.NoError(t, kit.Err(m.Decrypt(ctx, old.Ciphertexts[0], old.EC)))
	sealed := instanceKeyByHand(t, root, k, "tenant-7")
	secrets["instance key of a tenant"] = sealed
	plan, err := m.PlanDeletion(ctx, keyID)
	require.NoError(t, err)
	usage, err := m.KeyUsage(ctx, keyID)
	require.NoError(t, err)
	explained, err := m.Explain(ctx, kms.OpScheduleKeyDeletion, keyID)
	require.NoError(t, err)
	values["Manager of many instances"], values["Source"] = nested(m), source
	values["Instance"], values["DeletionPlan"], values["KeyUsage"], values["Explanation"] = nested(in), nested(plan), nested(usage), nested(explained)
	values["Service"] = nested(m.Service("ecs"))
	for name, v := range kms.Insides(m, inner.ID) {
		values["inside of a tenant: "+name] = nested(v)
	}
	leakBackup(t, m, values)
}

// leakBackup adds what is told of backups.
func leakBackup(t *testing.T, m *kms.Manager, values map[string][]any) {
	recipient := kit.Root(t, 7)
	report := kit.Restore(t, m, kit.Backup(t, m, "tenant-7", recipient), recipient, nil)
	values["RestoreReport"], values["Tombstones"] = nested(report), nested(m.Tombstones(t.Context()))
}

// instanceKeyByHand opens the key of an instance as one with the root could.
func instanceKeyByHand(t *testing.T, root kms.Root, k *kmstest.KMS, id string) []byte {
	var rec struct {
		Store []byte
		Seals []struct{ Key []byte }
	}
	require.NoError(t, json.Unmarshal(bodyByHand(t, kit.StoredValue(t, k, "instance/"+id)), &rec))
	key, err := root.Decrypt(rec.Seals[0].Key, framedByHand("keyhold instance key v1", rec.Store, id))
	require.NoError(t, err)
	return key
}

// leakRoots adds the other roots and the provider.
func leakRoots(t *testing.T, secrets map[string][]byte, values map[string][]any) {
	path := filepath.Join(t.TempDir(), "root")
	_, err := software.CreateRootFile(path)
	require.NoError(t, err)
	content := append([]byte("keyhold-root-1 "), hex.EncodeToString(secrets["file key"])+"\n"...)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	fromFile, err := software.OpenRootFile(path)
	require.NoError(t, err)
	values["Root of a file"] = nested(fromFile)
	require.NoError(t, os.WriteFile(path, append(content[:len(content)-2], "g\n"...), 0o600))
	_, err = software.OpenRootFile(path)
	require.ErrorIs(t, err, software.ErrRootFile)
	_, errShort := software.NewRoot(secrets["file key"][:31])
	require.Error(t, errShort)
	values["errors of roots"] = append(nested(err), nested(errShort)...)

	if !fips140.Enforced() {
		secrets["passphrase"] = []byte("correct horse battery staple, 4711 times")
		derived, err := software.NewRootFromPassphrase(secrets["passphrase"])
		require.NoError(t, err)
		_, err = derived.Encrypt([]byte("x"), nil) // derives a key
		require.NoError(t, err)
		values["Root of a passphrase"] = append(nested(derived), nested(*derived)...)
	}

	p := software.New()
	material, err := p.Generate(t.Context(), "id", provider.AES256, provider.UseEncrypt)
	require.NoError(t, err)
	if !fips140.Enforced() {
		secrets["a provider's material"] = materialByHand(t, material).key
	}
	opened, err := p.Open(t.Context(), "id", provider.AES256, material)
	require.NoError(t, err)
	values["Provider"], values["provider.Key"] = nested(p), nested(opened)
	for at := range material {
		damaged := slices.Clone(material)
		damaged[at] ^= 0x10
		_, err := p.Open(t.Context(), "id", provider.AES256, damaged)
		require.Error(t, err)
		values["errors of Provider.Open"] = append(values["errors of Provider.Open"], err)
	}
	_, err = p.Open(t.Context(), "another", provider.AES256, material)
	values["errors of Provider.Open"] = append(values["errors of Provider.Open"], nested(err)...)
}

// leakErrors are errors of every kind, and those of calls that were given secrets.
func leakErrors(t *testing.T, k *kmstest.KMS, id string, plain, ciphertext []byte, dataKey kms.DataKey) map[string]error {
	ctx := t.Context()
	errs := map[string]error{}
	for _, c := range refusals {
		errs[c.name] = c.make(t, kmstest.New(t))
	}
	long := append(slices.Clone(plain), make([]byte, kms.MaxPlaintext)...)
	errs["too long"] = kit.Err(k.Encrypt(ctx, id, long, nil))
	errs["another context"] = kit.Err(k.Decrypt(ctx, ciphertext, nil))
	errs["a plaintext as ciphertext"] = kit.Err(k.Decrypt(ctx, plain, nil))
	errs["a plaintext as key"] = kit.Err(k.Encrypt(ctx, string(plain), plain, nil))
	errs["a plaintext as alias"] = k.CreateAlias(ctx, "alias/"+string(plain), id)
	errs["a plaintext as tag"] = kit.Err(k.SetTags(ctx, id, map[string]string{string(plain): string(plain)}))
	// A context is no secret: Authorize sees it, and so it goes where nobody is asked.
	unasked := k.Another(t, func(c *kms.Config) { c.Authorize = nil })
	errs["a data key as context"] = kit.Err(unasked.Decrypt(ctx, ciphertext, kms.EncryptionContext{"k": string(dataKey.Plaintext())}))
	errs["a data key as plaintext of nobody"] = kit.Err(k.Encrypt(ctx, "alias/nobody", dataKey.Plaintext(), nil))
	errs["re-encryption to nobody"] = kit.Err(k.ReEncrypt(ctx, dataKey.Ciphertext, kms.EncryptionContext{"tenant": "7"}, "alias/nobody", nil))
	k.Store.FailNext("Put", true, errors.New("connection reset"))
	errs["a write of which nobody knows "] = kit.Err(k.SetDescription(ctx, id, "new"))
	for name, size := range map[string]int{"instance/default": 60, "key/" + id: 60} {
		item, err := k.Store.Get(ctx, name)
		require.NoError(t, err)
		s := new(keystore.Memory)
		_, err = s.Put(ctx, "instance/default", "", item.Value[:size])
		require.NoError(t, err)
		_, err = kms.Open(ctx, k.ConfigWith(func(c *kms.Config) { c.Store = s }))
		errs["a damaged instance: "+name[:3]] = err
	}
	return errs
}

// pattern is kit.Pattern.
func pattern(n int) []byte { return kit.Pattern(n) }

// leakRest adds what imports, rotations and keys that sign hand out, and the options of calls.
func leakRest(t *testing.T, secrets map[string][]byte, values map[string][]any) {
	ctx, k := t.Context(), kmstest.New(t)
	secrets["material of an owner"] = randomBytes(32)
	id := kit.ExternalKey(t, k)
	p, err := k.GetParametersForImport(ctx, id, &kms.ImportOptions{Algorithm: kms.WrapAESKeyWrap})
	require.NoError(t, err)
	wrapped, err := kms.WrapForImport(p, secrets["material of an owner"])
	require.NoError(t, err)
	require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, p.Token, time.Time{})))
	err = kit.Err(k.ImportKeyMaterial(ctx, id, secrets["material of an owner"], p.Token, time.Time{}))
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
	report, err := k.Rewrap(ctx, id, kit.Shelf{}.Items, kit.Shelf{}.Put, nil)
	require.NoError(t, err)
	values["KeyVersions"], values["RewrapReport"], values["Wrapped"] = nested(versions), nested(report), nested(kms.Wrapped{Ciphertext: wrapped})
	receipt, err := k.DeletionReceipt(ctx, kit.PendingKey(t, k))
	require.NoError(t, err)
	require.NotEmpty(t, receipt.Reached)
	values["DeletionReceipt"] = append(nested(receipt), nested(receipt.Reached[0])...)
	plan, err := k.PlanRelease(ctx, kms.DefaultInstance)
	require.NoError(t, err)
	values["ReleasePlan"] = append(nested(plan), nested(plan.Steps[0])...)
	values["more options"] = []any{
		kms.DeletionLevel4,
		kms.ImportOptions{}, kms.InstanceOptions{}, kms.BackupOptions{}, kms.ReleaseOptions{}, kms.DeleteMaterialOptions{}, kms.InstanceProtection{}, kms.RestoreOptions{}, kms.RewrapOptions{}, kms.RetireOptions{},
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
