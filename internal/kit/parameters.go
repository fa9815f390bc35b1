package kit

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/xaes"
	"github.com/keyhold/kms/keystore"
)

// WrappingKey returns a wrapping key that serves all tests of a binary: to make one takes longer
// than most tests.
func WrappingKey() *rsa.PrivateKey { return wrappingKey() }

var wrappingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// ImportParameters makes what GetParametersForImport answers at that time, but with WrappingKey.
// It asks Explain whether the call would be refused, and returns that refusal. It opens the
// instance key with the root and seals the token by itself.
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
	if p.PublicKey, err = x509.MarshalPKIXPublicKey(&WrappingKey().PublicKey); err != nil {
		return kms.ImportParameters{}, err
	}
	p.Token, err = importToken(ctx, store, root, key.Instance, p)
	return p, err
}

// importToken seals a token as docs/design.md has it: with a key that is derived from the instance
// key, for this key of this instance of this key store.
func importToken(ctx context.Context, store keystore.Store, root kms.Root, instance string, p kms.ImportParameters) ([]byte, error) {
	item, err := store.Get(ctx, "instance/"+instance)
	if err != nil {
		return nil, err
	}
	// Before the record are a version, the name of who authenticated it behind its length, and a MAC.
	begin := 2 + int(item.Value[1]) + sha256.Size
	var record struct{ Store, Root []byte }
	if err := json.Unmarshal(item.Value[begin:], &record); err != nil {
		return nil, err
	}
	secret, err := root.Decrypt(record.Root, framed([]byte("keyhold instance key v1"), record.Store, []byte(instance)))
	if err != nil {
		return nil, err
	}
	derived, err := hkdf.Expand(sha256.New, secret, "keyhold/v1/import-token", xaes.KeySize)
	if err != nil {
		return nil, err
	}
	seal, err := xaes.New(derived)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(WrappingKey())
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(struct {
		Key       string                `json:"key"`
		Algorithm kms.WrappingAlgorithm `json:"algorithm"`
		Private   []byte                `json:"private"`
		ExpiresAt time.Time             `json:"expires"`
	}{p.KeyID, p.Algorithm, private, p.ExpiresAt})
	if err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(strings.ReplaceAll(p.KeyID, "-", ""))
	if err != nil {
		return nil, err
	}
	return seal.Seal([]byte{1}, body, framed([]byte("keyhold import token v1"), record.Store, []byte(instance), id)), nil
}

// framed joins parts, each behind its length.
func framed(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}
