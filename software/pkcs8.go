package software

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"

	tinkkey "github.com/tink-crypto/tink-go/v2/key"
	tinkecdsa "github.com/tink-crypto/tink-go/v2/signature/ecdsa"
	tinked25519 "github.com/tink-crypto/tink-go/v2/signature/ed25519"
	"github.com/tink-crypto/tink-go/v2/signature/rsassapss"

	"github.com/keyhold/kms/internal/cleartext"
	"github.com/keyhold/kms/internal/unfilled"
)

// These never leave the package: Import says something of its own.
var (
	errPKCS8    = errors.New("software: not a private key of that kind")
	errUnfilled = errors.New("software: the bytes of the key are all the same")
)

// pkcs8 parses a private key of type K.
func pkcs8[K any](der []byte) (K, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	private, ok := parsed.(K)
	if err != nil || !ok {
		return private, errPKCS8
	}
	return private, nil
}

// typedRSA takes keys of two primes whose modulus has the bits of params.
func typedRSA(der []byte, params tinkkey.Parameters) (tinkkey.Key, error) {
	private, err := pkcs8[*rsa.PrivateKey](der)
	if err != nil {
		return nil, err
	}
	if len(private.Primes) != 2 || private.N.BitLen() != params.(*rsassapss.Parameters).ModulusSizeBits() {
		return nil, errPKCS8
	}
	with, err := rsaParamsWith(private.N.BitLen(), private.E)
	if err != nil {
		return nil, err
	}
	public, err := rsassapss.NewPublicKey(private.N.Bytes(), 0, with)
	if err != nil {
		return nil, err
	}
	p, q, d := private.Primes[0].Bytes(), private.Primes[1].Bytes(), private.D.Bytes()
	defer clear(p)
	defer clear(q)
	defer clear(d)
	return rsassapss.NewPrivateKey(public, rsassapss.PrivateKeyValues{
		P: cleartext.Secret(p), Q: cleartext.Secret(q), D: cleartext.Secret(d),
	})
}

func typedEC(der []byte, params tinkkey.Parameters) (tinkkey.Key, error) {
	private, err := pkcs8[*ecdsa.PrivateKey](der)
	if err != nil {
		return nil, err
	}
	with := params.(*tinkecdsa.Parameters)
	if private.Curve != curves[with.CurveType()].curve {
		return nil, errPKCS8
	}
	raw, err := private.Bytes()
	defer clear(raw)
	if err != nil || unfilled.Buffer(raw) {
		return nil, errPKCS8
	}
	return tinkecdsa.NewPrivateKey(cleartext.Secret(raw), 0, with)
}

func typedEd25519(der []byte, params tinkkey.Parameters) (tinkkey.Key, error) {
	private, err := pkcs8[ed25519.PrivateKey](der)
	if err != nil {
		return nil, err
	}
	defer clear(private)
	seed := private.Seed()
	defer clear(seed)
	if unfilled.Buffer(seed) {
		return nil, errPKCS8
	}
	return tinked25519.NewPrivateKey(cleartext.Secret(seed), 0, *params.(*tinked25519.Parameters))
}
