//go:build cgo

package hsm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/provider"
)

// signKey is an opened key that signs, by crypto11. With the public half it verifies by itself.
type signKey struct {
	noCipher
	key
	signer atomic.Pointer[foundSigner]
}

// foundSigner is what crypto11 knows of a key in one generation.
type foundSigner struct {
	g *generation
	crypto.Signer
}

var _ provider.Signer = (*signKey)(nil)

var signingAlgorithms = map[provider.Spec][]provider.SigningAlgorithm{
	provider.RSA2048: rsaAlgorithms, provider.RSA3072: rsaAlgorithms, provider.RSA4096: rsaAlgorithms,
	provider.ECP256: {provider.SignECDSASHA256}, provider.ECP384: {provider.SignECDSASHA384},
}

var rsaAlgorithms = []provider.SigningAlgorithm{
	provider.SignRSAPSSSHA256, provider.SignRSAPSSSHA384, provider.SignRSAPSSSHA512,
	provider.SignRSAPKCS1SHA256, provider.SignRSAPKCS1SHA384, provider.SignRSAPKCS1SHA512,
}

func openSigner(t *Token, r reference) provider.Key {
	return &signKey{key: key{t: t, r: r, class: pkcs11.CKO_PRIVATE_KEY}}
}

func (k *signKey) PublicKey(context.Context) ([]byte, error) { return bytes.Clone(k.r.public), nil }

func (k *signKey) Sign(ctx context.Context, alg provider.SigningAlgorithm, digest []byte) ([]byte, error) {
	if err := k.check(alg, digest); err != nil {
		return nil, err
	}
	digest = own(ctx, digest)
	return do(ctx, k.t, using, func(s *session) ([]byte, error) { return k.sign(s, alg, digest) })
}

// Verify does not need the token.
func (k *signKey) Verify(_ context.Context, alg provider.SigningAlgorithm, digest, signature []byte) error {
	if err := k.check(alg, digest); err != nil {
		return err
	}
	public, err := x509.ParsePKIXPublicKey(k.r.public)
	if err != nil {
		return fmt.Errorf("%w: the public half is none", provider.ErrNoKey)
	}
	valid := false
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		valid = ecdsa.VerifyASN1(p, digest, signature)
	case *rsa.PublicKey:
		if h, pss := rsaScheme(alg); pss != nil {
			valid = rsa.VerifyPSS(p, h, digest, signature, pss) == nil
		} else {
			valid = rsa.VerifyPKCS1v15(p, h, digest, signature) == nil
		}
	}
	if !valid {
		return provider.ErrSignature
	}
	return nil
}

func (k *signKey) check(alg provider.SigningAlgorithm, digest []byte) error {
	for _, known := range signingAlgorithms[k.r.spec] {
		if h, _ := alg.Hash(); alg == known && len(digest) == h.Size() {
			return nil
		}
	}
	return unsupported("the algorithm is not one of the key, or the digest not one of the algorithm")
}

func (k *signKey) sign(s *session, alg provider.SigningAlgorithm, digest []byte) ([]byte, error) {
	signer, err := k.find(s)
	if err != nil {
		return nil, err
	}
	h, pss := rsaScheme(alg)
	opts := crypto.SignerOpts(h)
	if pss != nil {
		opts = pss
	}
	made, err := signer.Sign(rand.Reader, digest, opts)
	return made, s.fail("C_Sign", err)
}

// find has crypto11 find the pair. Sessions of its own are behind that, and it uses them again
// also after an error: any that is not about the key alone makes the generation bad.
func (k *signKey) find(s *session) (crypto.Signer, error) {
	if f := k.signer.Load(); f != nil && f.g == s.g {
		if _, err := k.handle(s); err != nil {
			return nil, err
		}
		return f, nil
	}
	if _, err := k.handle(s); err != nil {
		return nil, err
	}
	attributes, err := crypto11.NewAttributeSetWithID(k.r.object[:])
	if err != nil {
		return nil, err
	}
	pairs, err := s.g.c11.FindKeyPairsWithAttributes(attributes)
	if err != nil {
		return nil, s.fail("C_FindObjects", err)
	}
	if len(pairs) != 1 {
		return nil, fmt.Errorf("%w: the public half is not in the token", provider.ErrNoKey)
	}
	k.signer.Store(&foundSigner{s.g, pairs[0]})
	return pairs[0], nil
}

// try signs something, and so finds out whether the public half is that of the key.
func (k *signKey) try(s *session) error {
	alg := signingAlgorithms[k.r.spec][0]
	h, _ := alg.Hash()
	digest := make([]byte, h.Size())
	made, err := k.sign(s, alg, digest)
	if err != nil {
		return err
	}
	if k.Verify(context.Background(), alg, digest, made) != nil {
		return errTried
	}
	return nil
}

// rsaScheme is the hash of an algorithm, and options where it is PSS.
func rsaScheme(alg provider.SigningAlgorithm) (crypto.Hash, *rsa.PSSOptions) {
	h, _ := alg.Hash()
	if !strings.HasPrefix(string(alg), "RSA_PSS_") {
		return h, nil
	}
	return h, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
}
