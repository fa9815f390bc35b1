//go:build cgo

package hsm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"math/big"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/internal/unfilled"
)

// generateRSA and generateEC have crypto11 make a pair and return its public half.
func generateRSA(s *session, k kind, o object) ([]byte, error) {
	return s.generatePair(k, o, func(public, private crypto11.AttributeSet) (crypto.Signer, error) {
		return s.g.c11.GenerateRSAKeyPairWithAttributes(public, private, k.size)
	})
}

func generateEC(s *session, k kind, o object) ([]byte, error) {
	return s.generatePair(k, o, func(public, private crypto11.AttributeSet) (crypto.Signer, error) {
		return s.g.c11.GenerateECDSAKeyPairWithAttributes(public, private, k.curve)
	})
}

func (s *session) generatePair(k kind, o object, generate func(public, private crypto11.AttributeSet) (crypto.Signer, error)) ([]byte, error) {
	var pair crypto.Signer
	err := s.asFrozen(func(extra map[uint]bool) (err error) {
		private := attributeSet(o.template(notForPrivate, secret, extra))
		pair, err = generate(attributeSet(o.publicHalf(k)), private)
		return s.fail("C_GenerateKeyPair", err)
	})
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(pair.Public())
}

// publicHalf is the template of the object with the public half of a pair.
func (o object) publicHalf(k kind) []*pkcs11.Attribute {
	o.uses = k.opposite
	return o.template(notForPublic, public)
}

func attributeSet(template []*pkcs11.Attribute) crypto11.AttributeSet {
	set := crypto11.NewAttributeSet()
	for _, a := range template {
		set[a.Type] = a
	}
	return set
}

// bringRSA makes a pair of a private key in PKCS #8, of two primes and the size of the kind.
func bringRSA(s *session, k kind, o object, der []byte) ([]byte, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	private, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok || private.N.BitLen() != k.size || len(private.Primes) != 2 {
		return nil, errNotOfSpec
	}
	modulus := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA),
		pkcs11.NewAttribute(pkcs11.CKA_MODULUS, private.N.Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, big.NewInt(int64(private.E)).Bytes()),
	}
	values := append(modulus[:len(modulus):len(modulus)],
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE_EXPONENT, private.D.Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_PRIME_1, private.Primes[0].Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_PRIME_2, private.Primes[1].Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_EXPONENT_1, private.Precomputed.Dp.Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_EXPONENT_2, private.Precomputed.Dq.Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_COEFFICIENT, private.Precomputed.Qinv.Bytes()))
	defer func() {
		for _, secret := range values[len(modulus):] {
			clear(secret.Value)
		}
	}()
	return s.bringPair(k, o, modulus, values, &private.PublicKey)
}

// bringEC makes a pair of a private key in PKCS #8, of the curve of the kind.
func bringEC(s *session, k kind, o object, der []byte) ([]byte, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	private, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || private.Curve != k.curve {
		return nil, errNotOfSpec
	}
	scalar, err := private.Bytes()
	defer clear(scalar)
	if err != nil || unfilled.Buffer(scalar) {
		return nil, errNotOfSpec
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, errNotOfSpec
	}
	wrapped, err := asn1.Marshal(point) // an OCTET STRING
	if err != nil {
		return nil, err
	}
	curve := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC),
		pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, curveNames[k.curve]),
	}
	return s.bringPair(k, o, append(curve[:2:2], pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, wrapped)),
		append(curve[:2:2], pkcs11.NewAttribute(pkcs11.CKA_VALUE, scalar)), &private.PublicKey)
}

// curveNames are the object identifiers of the curves, in DER.
var curveNames = map[elliptic.Curve][]byte{
	elliptic.P256(): {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07},
	elliptic.P384(): {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22},
}

func (s *session) bringPair(k kind, o object, public, private []*pkcs11.Attribute, half crypto.PublicKey) ([]byte, error) {
	create := func(template []*pkcs11.Attribute) error {
		_, err := s.g.p.CreateObject(s.h, template)
		return s.fail("C_CreateObject", err)
	}
	err := s.asFrozen(func(extra map[uint]bool) error {
		return create(append(append(o.template(notForPrivate, secret, extra), private...),
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)))
	})
	if err != nil {
		return nil, err
	}
	// crypto11 knows a pair by its public object.
	err = create(append(append(o.publicHalf(k), public...), pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY)))
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(half)
}
