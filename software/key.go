package software

import (
	"context"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	tinkkey "github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/keyhold/kms/internal/cleartext"
	"github.com/keyhold/kms/internal/unfilled"
	"github.com/keyhold/kms/internal/xaes"
	"github.com/keyhold/kms/provider"
)

// key is one opened key that encrypts. It never waits, and so pays no heed to contexts. It is
// one pointer, so that an interface holds it without another in between.
type key struct {
	xaes xaes.Key
}

var (
	_ provider.Key              = key{}
	_ provider.DataKeyGenerator = key{}
)

func (k key) Encrypt(_ context.Context, dst, plaintext, associatedData []byte) ([]byte, error) {
	return sealCommitted(&k.xaes, dst, plaintext, associatedData)
}

func (k key) Decrypt(_ context.Context, dst, ciphertext, associatedData []byte) ([]byte, error) {
	out, ok := openCommitted(&k.xaes, dst, ciphertext, associatedData)
	if !ok {
		return nil, provider.ErrCiphertext
	}
	return out, nil
}

// GenerateDataKey is Encrypt for random bytes, with which it fills plaintext.
func (k key) GenerateDataKey(_ context.Context, dst, plaintext, associatedData []byte) ([]byte, error) {
	sealed := k.xaes.SealRandom(dst, plaintext, commitmentSize, associatedData)
	if sealed == nil {
		return nil, errSeal
	}
	return sealed, nil
}

// noCipher is the part of an opened key that does not encrypt.
type noCipher struct{}

func (noCipher) Encrypt(context.Context, []byte, []byte, []byte) ([]byte, error) {
	return nil, fmt.Errorf("%w: the key does not encrypt", provider.ErrUnsupported)
}

func (noCipher) Decrypt(context.Context, []byte, []byte, []byte) ([]byte, error) {
	return nil, fmt.Errorf("%w: the key does not decrypt", provider.ErrUnsupported)
}

func openXAES(_ *keyset.Handle, k tinkkey.Key) (provider.Key, error) {
	raw := cleartext.Bytes(k.(*xaesgcm.Key).KeyBytes())
	defer clear(raw)
	opened, err := xaes.New(raw)
	if err != nil {
		return nil, fmt.Errorf("software: opening a key: %w", err)
	}
	return key{xaes: *opened}, nil
}

func typedXAES(b []byte, params tinkkey.Parameters) (tinkkey.Key, error) {
	if unfilled.Buffer(b) {
		return nil, errUnfilled
	}
	return xaesgcm.NewKey(cleartext.Secret(b), 0, params.(*xaesgcm.Parameters))
}
