package software

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"
	"strings"

	tinkkey "github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/signature/rsassapss"

	"github.com/keyhold/kms/internal/cleartext"
	"github.com/keyhold/kms/provider"
)

// An RSA key is kept as one of RSASSA-PSS with SHA-256. That is a name on the keyset, for
// Tink has no RSA key as such: the key does all of its spec's algorithms.
const rsaExponent = 65537

func rsaParams(bits int) func() (tinkkey.Parameters, error) {
	return func() (tinkkey.Parameters, error) { return rsaParamsWith(bits, rsaExponent) }
}

func rsaParamsWith(bits, exponent int) (*rsassapss.Parameters, error) {
	return rsassapss.NewParameters(rsassapss.ParametersValues{
		ModulusSizeBits: bits, SigHashType: rsassapss.SHA256, MGF1HashType: rsassapss.SHA256,
		PublicExponent: exponent, SaltLengthBytes: sha256.Size,
	}, rsassapss.VariantNoPrefix)
}

// sameRSA tells whether both are parameters of RSA keys as above, but for the exponent.
func sameRSA(got, want tinkkey.Parameters) bool {
	a, isRSA := got.(*rsassapss.Parameters)
	b, wantRSA := want.(*rsassapss.Parameters)
	if !isRSA || !wantRSA {
		return false
	}
	like, err := rsaParamsWith(b.ModulusSizeBits(), a.PublicExponent())
	return err == nil && a.Equal(like)
}

var rsaAlgorithms = []provider.SigningAlgorithm{
	provider.SignRSAPSSSHA256, provider.SignRSAPSSSHA384, provider.SignRSAPSSSHA512,
	provider.SignRSAPKCS1SHA256, provider.SignRSAPKCS1SHA384, provider.SignRSAPKCS1SHA512,
}

// An rsaKey signs and decrypts. What it is for the service decides.
type rsaKey struct {
	*signer
	decrypt func(ciphertext []byte) ([]byte, error)
}

var _ provider.AsymmetricDecrypter = (*rsaKey)(nil)

func (k *rsaKey) DecryptOAEP(_ context.Context, ciphertext []byte) ([]byte, error) {
	plaintext, err := k.decrypt(ciphertext)
	if err != nil {
		return nil, provider.ErrCiphertext
	}
	return plaintext, nil
}

func openRSA(_ *keyset.Handle, k tinkkey.Key) (provider.Key, error) {
	private, err := rsaPrivate(k.(*rsassapss.PrivateKey))
	if err != nil {
		return nil, fmt.Errorf("%w: the private key is none", provider.ErrNoKey)
	}
	s, err := newSigner(&private.PublicKey, rsaAlgorithms,
		func(alg provider.SigningAlgorithm, digest []byte) ([]byte, error) {
			h, pss := rsaScheme(alg)
			if pss != nil {
				return rsa.SignPSS(rand.Reader, private, h, digest, pss)
			}
			return rsa.SignPKCS1v15(rand.Reader, private, h, digest)
		},
		func(alg provider.SigningAlgorithm, digest, made []byte) error {
			h, pss := rsaScheme(alg)
			if pss != nil {
				return rsa.VerifyPSS(&private.PublicKey, h, digest, made, pss)
			}
			return rsa.VerifyPKCS1v15(&private.PublicKey, h, digest, made)
		})
	if err != nil {
		return nil, err
	}
	return &rsaKey{signer: s, decrypt: func(ciphertext []byte) ([]byte, error) {
		// The standard library takes a ciphertext without the zeros in front, too.
		if len(ciphertext) != private.Size() {
			return nil, provider.ErrCiphertext
		}
		return rsa.DecryptOAEP(sha256.New(), nil, private, ciphertext, nil)
	}}, nil
}

// rsaScheme is the hash of an algorithm, and options where it is PSS.
func rsaScheme(alg provider.SigningAlgorithm) (crypto.Hash, *rsa.PSSOptions) {
	h, _ := alg.Hash()
	if !strings.HasPrefix(string(alg), "RSA_PSS_") {
		return h, nil
	}
	return h, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
}

func rsaPrivate(k *rsassapss.PrivateKey) (*rsa.PrivateKey, error) {
	public, err := k.PublicKey()
	if err != nil {
		return nil, err
	}
	number := func(b []byte) *big.Int { return new(big.Int).SetBytes(b) }
	d, p, q := cleartext.Bytes(k.D()), cleartext.Bytes(k.P()), cleartext.Bytes(k.Q())
	defer clear(d)
	defer clear(p)
	defer clear(q)
	private := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{
			N: number(public.(*rsassapss.PublicKey).Modulus()),
			E: k.Parameters().(*rsassapss.Parameters).PublicExponent(),
		},
		D:      number(d),
		Primes: []*big.Int{number(p), number(q)},
	}
	private.Precompute()
	return private, private.Validate()
}
