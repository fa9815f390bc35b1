package kms

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"

	"github.com/keyhold/kms/provider"
)

// PublicKey is the public half of an asymmetric key. It is no secret.
type PublicKey struct {
	KeyID      string
	KeyVersion int
	Spec       Spec
	Usage      Usage
	DER        []byte // SubjectPublicKeyInfo
}

// GetPublicKey returns the public half of a key that signs, or decrypts: with it anybody
// verifies, or encrypts, without the service. The key may be Disabled, for what it signed
// remains to be verified; while it is PendingDeletion the refusal is as for any use of it.
//
// By what the key is, it is refused with ErrBrownout, ErrInstanceExpired, ErrNotFound,
// ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) GetPublicKey(ctx context.Context, ref string) (_ PublicKey, err error) {
	c := m.begin(OpGetPublicKey)
	defer c.end(ctx, &err)
	e, err := m.lookup(ctx, c, ref, nil)
	if err != nil {
		return PublicKey{}, err
	}
	return m.publicKey(ctx, c, e)
}

// publicKey asks the provider for the public half of a key, and looks at what it gave.
func (m *Manager) publicKey(ctx context.Context, c *call, e *entry) (PublicKey, error) {
	key, err := ability[interface {
		PublicKey(context.Context) ([]byte, error)
	}](ctx, m, c, e)
	if err != nil {
		return PublicKey{}, err
	}
	der, err := key.PublicKey(ctx)
	if err != nil {
		return PublicKey{}, fromProvider(c.op, c.keyID, err)
	}
	r := e.record
	p := PublicKey{KeyID: r.id(), KeyVersion: int(r.Primary), Spec: r.Spec, Usage: r.Usage, DER: der}
	if p.Key() == nil {
		return PublicKey{}, unavailable(c.op, c.keyID, "the provider gave a public key that is none", nil)
	}
	return p, nil
}

// Key returns the key as the standard library has it: *rsa.PublicKey, *ecdsa.PublicKey,
// ed25519.PublicKey; and MLDSAPublicKey, for which the library has no type. It is nil where
// the DER is of none of them.
func (p PublicKey) Key() crypto.PublicKey {
	if key, err := x509.ParsePKIXPublicKey(p.DER); err == nil {
		return key
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		PublicKey asn1.BitString
	}
	rest, err := asn1.Unmarshal(p.DER, &info)
	if err != nil || len(rest) > 0 || !info.Algorithm.Algorithm.Equal(oidMLDSA65) || len(info.PublicKey.Bytes) != sizeMLDSA65 {
		return nil
	}
	return MLDSAPublicKey(info.PublicKey.Bytes)
}

// PEM returns the key as a block of PEM, "PUBLIC KEY", which other programs read.
func (p PublicKey) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: p.DER}))
}

// MLDSAPublicKey is a public key of ML-DSA-65, as FIPS 204 encodes it: 1952 bytes.
type MLDSAPublicKey []byte

// Equal tells whether x is the same key.
func (k MLDSAPublicKey) Equal(x crypto.PublicKey) bool {
	other, ok := x.(MLDSAPublicKey)
	return ok && bytes.Equal(k, other)
}

// How RFC 9881 names ML-DSA-65.
var oidMLDSA65 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 18}

const sizeMLDSA65 = 1952

// AsymmetricEncrypt encrypts under the public half of an RSA key of usage ENCRYPT/DECRYPT, by
// RSAES_OAEP_SHA_256: OAEP with SHA-256, MGF1 with SHA-256 and no label (RFC 8017). It takes
// up to 190 bytes for RSA_2048, 318 for RSA_3072, 446 for RSA_4096; more is ErrInvalid.
//
// The ciphertext is as everybody makes it who has the public key. So it names no key, is
// bound to no context, and proves nothing about who made it. Where both sides are this
// program, Encrypt does more.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
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
	if most := public.Size() - 2*sha256.Size - 2; len(plaintext) > most {
		return nil, invalid(c.op, "the plaintext is longer than %d bytes, which the key can encrypt", most)
	}
	ciphertext, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, plaintext, nil)
	if err != nil {
		return nil, unavailable(c.op, c.keyID, "encrypting", err)
	}
	return ciphertext, nil
}

// AsymmetricDecrypt opens with an RSA key what was encrypted under its public half, as
// AsymmetricEncrypt does. All that can be wrong with the ciphertext is ErrCiphertext.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
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
