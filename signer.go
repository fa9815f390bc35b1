package kms

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"io"
)

// Signer returns a key of usage SIGN/VERIFY as the standard library wants it, for TLS, X.509,
// SSH, JWT and the like. It is a crypto.MessageSigner as well. It holds on to the key, not to
// the alias that named it.
//
// Every signature is a call of Sign (SignDigest), with its checks, under ctx: when that ends
// the signer refuses. So ctx is one of the program's, not of a request. The source of
// randomness that a signature is given is ignored.
//
// The options choose the algorithm. Their hash is the one of the algorithm: for EC_P256
// SHA-256, for EC_P384 SHA-384, for RSA any of SHA-256, SHA-384 and SHA-512, with
// *rsa.PSSOptions for PSS, whose salt is as long as the hash. For ED25519 and ML_DSA_65 the
// hash is 0, and what is signed is the message; the public key of the latter is an
// MLDSAPublicKey, which the standard library's TLS and X.509 do not know. What has no
// algorithm here is ErrUsage.
func (m *Manager) Signer(ctx context.Context, ref string) (crypto.Signer, error) {
	h, err := m.hold(ctx, ref, forSigning)
	if err != nil {
		return nil, err
	}
	return &keySigner{h}, nil
}

// Decrypter returns an RSA key of usage ENCRYPT/DECRYPT as the standard library wants it. It
// holds on to the key and to ctx as a Signer does. The options are *rsa.OAEPOptions of
// SHA-256 without a label; all else is ErrUsage.
func (m *Manager) Decrypter(ctx context.Context, ref string) (crypto.Decrypter, error) {
	h, err := m.hold(ctx, ref, forOpening)
	if err != nil {
		return nil, err
	}
	return &keyDecrypter{h}, nil
}

// held is what a signer and a decrypter keep of their key.
type held struct {
	m      *Manager
	ctx    context.Context
	public PublicKey
	key    crypto.PublicKey
}

func (h held) Public() crypto.PublicKey { return h.key }

// hold is GetPublicKey for keys of one purpose.
func (m *Manager) hold(ctx context.Context, ref string, need purpose) (_ held, err error) {
	c := m.begin(OpGetPublicKey)
	defer c.end(ctx, &err)
	e, err := m.lookup(ctx, c, ref, nil)
	if err != nil {
		return held{}, err
	}
	if e.record.purpose() != need {
		return held{}, wrongPurpose(c.op, c.keyID, need)
	}
	p, err := m.publicKey(ctx, c, e)
	return held{m: m, ctx: ctx, public: p, key: p.Key()}, err
}

type keySigner struct{ held }

var _ crypto.MessageSigner = (*keySigner)(nil)

// Sign signs a digest, or a message where the options' hash is 0.
func (s *keySigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	alg, err := s.algorithm(opts)
	if err != nil {
		return nil, err
	}
	if hash, _ := alg.Hash(); hash == 0 {
		return s.m.Sign(s.ctx, s.public.KeyID, alg, digest)
	}
	return s.m.SignDigest(s.ctx, s.public.KeyID, alg, digest)
}

// SignMessage signs a message, which it hashes itself.
func (s *keySigner) SignMessage(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	alg, err := s.algorithm(opts)
	if err != nil {
		return nil, err
	}
	return s.m.Sign(s.ctx, s.public.KeyID, alg, message)
}

// The algorithms that options choose, by their hash.
var (
	byPSS   = map[crypto.Hash]SigningAlgorithm{crypto.SHA256: SignRSAPSSSHA256, crypto.SHA384: SignRSAPSSSHA384, crypto.SHA512: SignRSAPSSSHA512}
	byPKCS1 = map[crypto.Hash]SigningAlgorithm{crypto.SHA256: SignRSAPKCS1SHA256, crypto.SHA384: SignRSAPKCS1SHA384, crypto.SHA512: SignRSAPKCS1SHA512}
	bySpec  = map[Spec]map[crypto.Hash]SigningAlgorithm{
		SpecECP256: {crypto.SHA256: SignECDSASHA256}, SpecECP384: {crypto.SHA384: SignECDSASHA384},
		SpecEd25519: {0: SignEd25519}, SpecMLDSA65: {0: SignMLDSA65},
		SpecRSA2048: byPKCS1, SpecRSA3072: byPKCS1, SpecRSA4096: byPKCS1,
	}
)

// algorithm is what the options ask for.
func (s *keySigner) algorithm(opts crypto.SignerOpts) (SigningAlgorithm, error) {
	var hash crypto.Hash
	if opts != nil && absent(opts) {
		return "", noAlgorithm(OpSign, s.public, listed(algorithmsOf(s.public.Spec)))
	}
	if opts != nil {
		hash = opts.HashFunc()
	}
	alg, known := bySpec[s.public.Spec][hash]
	switch o := opts.(type) {
	case *rsa.PSSOptions:
		_, isRSA := s.key.(*rsa.PublicKey)
		known = known && isRSA && plainSalt(o.SaltLength, hash)
		alg = byPSS[hash]
	case *ed25519.Options:
		known = known && o.Context == ""
	}
	if known {
		return alg, nil
	}
	return "", noAlgorithm(OpSign, s.public, listed(algorithmsOf(s.public.Spec)))
}

// noAlgorithm refuses options that choose no algorithm of the key.
func noAlgorithm(op Op, p PublicKey, known string) error {
	return &refusal{op: op, keyID: p.KeyID, cond: ErrUsage, text: "the options choose no algorithm of the key's spec, which is " + string(p.Spec),
		hint: "The algorithms of the key are " + known + "."}
}

// plainSalt tells whether a salt as long as the hash is what was asked for, or will do.
func plainSalt(length int, hash crypto.Hash) bool {
	return length == rsa.PSSSaltLengthAuto || length == rsa.PSSSaltLengthEqualsHash || length == hash.Size()
}

type keyDecrypter struct{ held }

func (d *keyDecrypter) Decrypt(_ io.Reader, ciphertext []byte, opts crypto.DecrypterOpts) ([]byte, error) {
	o, ok := opts.(*rsa.OAEPOptions)
	if !ok || o == nil || o.Hash != crypto.SHA256 || (o.MGFHash != 0 && o.MGFHash != crypto.SHA256) || len(o.Label) > 0 {
		return nil, noAlgorithm(OpAsymmetricDecrypt, d.public, "RSAES_OAEP_SHA_256, which *rsa.OAEPOptions of SHA-256 without a label choose")
	}
	return d.m.AsymmetricDecrypt(d.ctx, d.public.KeyID, ciphertext)
}
