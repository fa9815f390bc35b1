package software

import (
	"context"

	"github.com/keyhold/kms/internal/xaes"
	"github.com/keyhold/kms/provider"
)

// key is one opened key. It never waits, and so pays no heed to contexts.
type key struct {
	xaes *xaes.Key
}

var _ provider.Key = (*key)(nil)

func (k *key) Encrypt(_ context.Context, dst, plaintext, associatedData []byte) ([]byte, error) {
	return sealCommitted(k.xaes, dst, plaintext, associatedData)
}

func (k *key) Decrypt(_ context.Context, dst, ciphertext, associatedData []byte) ([]byte, error) {
	out, ok := openCommitted(k.xaes, dst, ciphertext, associatedData)
	if !ok {
		return nil, provider.ErrCiphertext
	}
	return out, nil
}
