package software

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"

	tinkkey "github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/signature"
	tinkecdsa "github.com/tink-crypto/tink-go/v2/signature/ecdsa"
	tinked25519 "github.com/tink-crypto/tink-go/v2/signature/ed25519"
	"github.com/tink-crypto/tink-go/v2/signature/mldsa"

	"github.com/keyhold/kms/internal/cleartext"
	"github.com/keyhold/kms/provider"
)

// A signer is an opened key that signs. The private key is behind functions, where no printer
// reaches it.
type signer struct {
	noCipher
	public []byte // SubjectPublicKeyInfo
	algs   []provider.SigningAlgorithm
	sign   func(alg provider.SigningAlgorithm, input []byte) ([]byte, error)
	verify func(alg provider.SigningAlgorithm, input, signature []byte) error
}

var _ provider.Signer = (*signer)(nil)

func (s *signer) PublicKey(context.Context) ([]byte, error) {
	return append([]byte(nil), s.public...), nil
}

func (s *signer) Sign(_ context.Context, alg provider.SigningAlgorithm, input []byte) ([]byte, error) {
	if err := s.check(alg, input); err != nil {
		return nil, err
	}
	made, err := s.sign(alg, input)
	if err != nil {
		return nil, fmt.Errorf("software: signing: %w", err)
	}
	return made, nil
}

func (s *signer) Verify(_ context.Context, alg provider.SigningAlgorithm, input, signature []byte) error {
	if err := s.check(alg, input); err != nil {
		return err
	}
	if s.verify(alg, input, signature) != nil {
		return provider.ErrSignature
	}
	return nil
}

func (s *signer) check(alg provider.SigningAlgorithm, input []byte) error {
	for _, known := range s.algs {
		if h, _ := alg.Hash(); alg == known && (h == 0 || len(input) == h.Size()) {
			return nil
		}
	}
	return fmt.Errorf("%w: the algorithm is not one of the key, or the digest not one of the algorithm", provider.ErrUnsupported)
}

// curves are the curves of ECDSA, with their algorithm.
var curves = map[tinkecdsa.CurveType]struct {
	curve elliptic.Curve
	alg   provider.SigningAlgorithm
}{
	tinkecdsa.NistP256: {elliptic.P256(), provider.SignECDSASHA256},
	tinkecdsa.NistP384: {elliptic.P384(), provider.SignECDSASHA384},
}

func openEC(_ *keyset.Handle, k tinkkey.Key) (provider.Key, error) {
	typed := k.(*tinkecdsa.PrivateKey)
	kind := curves[typed.Parameters().(*tinkecdsa.Parameters).CurveType()]
	raw := cleartext.Bytes(typed.PrivateKeyValue())
	defer clear(raw)
	private, err := ecdsa.ParseRawPrivateKey(kind.curve, raw)
	if err != nil {
		return nil, fmt.Errorf("%w: the private key is none", provider.ErrNoKey)
	}
	return newSigner(&private.PublicKey, []provider.SigningAlgorithm{kind.alg},
		func(_ provider.SigningAlgorithm, digest []byte) ([]byte, error) {
			return ecdsa.SignASN1(rand.Reader, private, digest)
		},
		func(_ provider.SigningAlgorithm, digest, made []byte) error {
			if !ecdsa.VerifyASN1(&private.PublicKey, digest, made) {
				return provider.ErrSignature
			}
			return nil
		})
}

func openEd25519(h *keyset.Handle, k tinkkey.Key) (provider.Key, error) {
	public, err := k.(*tinked25519.PrivateKey).PublicKey()
	if err != nil {
		return nil, fmt.Errorf("%w: the private key is none", provider.ErrNoKey)
	}
	return tinkSigner(h, ed25519.PublicKey(public.(*tinked25519.PublicKey).KeyBytes()), provider.SignEd25519)
}

func openMLDSA(h *keyset.Handle, k tinkkey.Key) (provider.Key, error) {
	public, err := k.(*mldsa.PrivateKey).PublicKey()
	if err != nil {
		return nil, fmt.Errorf("%w: the private key is none", provider.ErrNoKey)
	}
	return tinkSigner(h, mldsaPublic(public.(*mldsa.PublicKey).KeyBytes()), provider.SignMLDSA65)
}

// tinkSigner signs messages with Tink.
func tinkSigner(h *keyset.Handle, public crypto.PublicKey, alg provider.SigningAlgorithm) (provider.Key, error) {
	signs, err := signature.NewSigner(h)
	if err != nil {
		return nil, fmt.Errorf("software: opening a key: %w", err)
	}
	half, err := h.Public()
	if err != nil {
		return nil, fmt.Errorf("software: opening a key: %w", err)
	}
	verifies, err := signature.NewVerifier(half)
	if err != nil {
		return nil, fmt.Errorf("software: opening a key: %w", err)
	}
	return newSigner(public, []provider.SigningAlgorithm{alg},
		func(_ provider.SigningAlgorithm, message []byte) ([]byte, error) { return signs.Sign(message) },
		func(_ provider.SigningAlgorithm, message, made []byte) error { return verifies.Verify(made, message) })
}

func newSigner(public crypto.PublicKey, algs []provider.SigningAlgorithm,
	sign func(provider.SigningAlgorithm, []byte) ([]byte, error),
	verify func(_ provider.SigningAlgorithm, input, made []byte) error) (*signer, error) {
	der, err := marshalPublic(public)
	if err != nil {
		return nil, fmt.Errorf("software: opening a key: %w", err)
	}
	return &signer{public: der, algs: algs, sign: sign, verify: verify}, nil
}

// mldsaPublic is a public key of ML-DSA-65, for which the standard library has no type yet.
type mldsaPublic []byte

// marshalPublic is x509.MarshalPKIXPublicKey, and RFC 9881 for ML-DSA-65.
func marshalPublic(public crypto.PublicKey) ([]byte, error) {
	raw, ok := public.(mldsaPublic)
	if !ok {
		return x509.MarshalPKIXPublicKey(public)
	}
	return asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		PublicKey asn1.BitString
	}{
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 18}},
		asn1.BitString{Bytes: raw, BitLength: 8 * len(raw)},
	})
}
