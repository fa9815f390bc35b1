package kms

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"

	"github.com/keyhold/kms/provider"
)

// AsymmetricEncrypt encrypts under the public half of an RSA key of usage ENCRYPT/DECRYPT, by
// RSAES_OAEP_SHA_256: OAEP with SHA-256, MGF1 with SHA-256 and no label (RFC 8017). It takes
// up to 190 bytes for RSA_2048, 318 for RSA_3072, 446 for RSA_4096; more is ErrInvalid.
//
// The ciphertext is as everybody makes it who has the public key. So it names no key, is
// bound to no context, and proves nothing about who made it. Where both sides are this
// program, Encrypt does more.
func (m *Manager) AsymmetricEncrypt(ctx context.Context, ref string, plaintext []byte) (_ []byte, err error) {
	c := m.begin(OpAsymmetricEncrypt)
	defer c.end(ctx, &err)
	e, err := m.lookup(ctx, c, ref, nil)
	if err != nil {
		return nil, err
	}
	p, err := m.publicKey(ctx, c, e)
	if err != nil {
		return nil, err
	}
	public, ok := p.Key().(*rsa.PublicKey)
	if !ok {
		return nil, unavailable(c.op, c.keyID, "the provider gave a public key of another kind", nil)
	}
	if len(plaintext) > public.Size()-2*sha256.Size-2 {
		return nil, invalid(c.op, "the plaintext is longer than the key can encrypt")
	}
	ciphertext, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, plaintext, nil)
	if err != nil {
		return nil, unavailable(c.op, c.keyID, "encrypting", err)
	}
	return ciphertext, nil
}

// AsymmetricDecrypt opens with an RSA key what was encrypted under its public half, as
// AsymmetricEncrypt does. All that can be wrong with the ciphertext is ErrCiphertext.
func (m *Manager) AsymmetricDecrypt(ctx context.Context, ref string, ciphertext []byte) (_ []byte, err error) {
	c := m.begin(OpAsymmetricDecrypt)
	defer c.end(ctx, &err)
	e, err := m.lookup(ctx, c, ref, nil)
	if err != nil {
		return nil, err
	}
	key, err := ability[provider.AsymmetricDecrypter](ctx, m, c, e)
	if err != nil {
		return nil, err
	}
	plaintext, err := key.DecryptOAEP(ctx, ciphertext)
	if err != nil {
		return nil, fromProvider(c.op, c.keyID, err)
	}
	return plaintext, nil
}
