package kit

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/internal/wrapping"
	"github.com/keyhold/kms/keystore"
)

// wrappingKey is a wrapping key that serves all tests of a binary: to make one takes longer than most
// tests.
var wrappingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// ImportParameters makes what GetParametersForImport answers at that time, but with one wrapping key
// for all. It asks Explain whether the call would be refused, and returns an error if so. It opens the
// instance key with the root and seals the token itself.
func ImportParameters(ctx context.Context, m *kms.Manager, store keystore.Store, root kms.Root, ref string, now time.Time) (kms.ImportParameters, error) {
	said, err := m.Explain(ctx, kms.OpGetParametersForImport, ref)
	if err != nil {
		return kms.ImportParameters{}, err
	}
	if !said.Allowed {
		return kms.ImportParameters{}, errors.New("kit: Explain does not allow it")
	}
	key, err := m.DescribeKey(ctx, ref)
	if err != nil {
		return kms.ImportParameters{}, err
	}
	p := kms.ImportParameters{KeyID: key.ID, Spec: kms.WrapRSA2048, Algorithm: kms.WrapOAEP, ExpiresAt: now.UTC().Add(kms.ImportTokenLife)}
	if p.PublicKey, err = x509.MarshalPKIXPublicKey(&wrappingKey().PublicKey); err != nil {
		return kms.ImportParameters{}, err
	}
	p.Token, err = importToken(ctx, store, root, key.Instance, p)
	return p, err
}

// importToken seals a token for a key of an instance, as one with the root could.
func importToken(ctx context.Context, store keystore.Store, root kms.Root, instance string, p kms.ImportParameters) ([]byte, error) {
	keys, err := openInstance(ctx, store, root, instance)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(wrappingKey())
	if err != nil {
		return nil, err
	}
	id, ok := keyid.Parse(p.KeyID)
	if !ok {
		return nil, errors.New("kit: the parameters name no key")
	}
	body := wrapping.Token{Key: id, Scheme: wrapping.OAEP, ExpiresAt: p.ExpiresAt, Private: private}.Encode()
	sealed, err := keys.Seal(sealing.ImportToken(id), body)
	return append([]byte{1}, sealed...), err
}

// openInstance opens the keys of an instance with the root.
func openInstance(ctx context.Context, store keystore.Store, root kms.Root, instance string) (*sealing.Keys, error) {
	item, err := store.Get(ctx, "instance/"+instance)
	if err != nil {
		return nil, err
	}
	by, _ := sealing.Named(item.Value)
	body, _ := sealing.Peek(by, item.Value)
	var record struct {
		Store      []byte
		Seals      []struct{ Key []byte }
		Generation uint64
	}
	if err := json.Unmarshal(body, &record); err != nil {
		return nil, err
	}
	err = errors.New("kit: the instance has no key")
	for _, seal := range record.Seals {
		var key []byte
		if key, err = root.Decrypt(seal.Key, sealing.RootContext(record.Store, instance)); err == nil {
			return sealing.Derive(instance, record.Store, record.Generation, key)
		}
	}
	return nil, err
}
