package wrapping

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"

	"github.com/keyhold/kms/internal/unfilled"
)

// Form is what the material of a spec looks like on its way in: that many bytes, or a private key
// as PKCS #8 in DER. The zero Form is none.
type Form struct {
	Bytes   int
	RSABits int
	Curve   string
}

// minExponent is the least public exponent of an RSA key (FIPS 186-5, section 5.1).
const minExponent = 65537

// Read takes material as its owner gave it. It returns what the provider is given, and what the
// key is known by from then on: for a private key its public half, so that the same key in another
// encoding is the same. It refuses what was read from a buffer that nobody filled. The caller wipes
// the material and the key.
func (f Form) Read(material []byte) (key, identity []byte, ok bool) {
	if f.Bytes > 0 {
		return material, material, len(material) == f.Bytes && !unfilled.Buffer(material)
	}
	// x509 overlooks what follows the key.
	var whole asn1.RawValue
	if rest, err := asn1.Unmarshal(material, &whole); err != nil || len(rest) > 0 {
		return nil, nil, false
	}
	private, err := x509.ParsePKCS8PrivateKey(material)
	if err != nil || !f.takes(private) {
		return nil, nil, false
	}
	public := private.(crypto.Signer).Public()
	if key, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
		return nil, nil, false
	}
	if identity, err = x509.MarshalPKIXPublicKey(public); err != nil {
		clear(key)
		return nil, nil, false
	}
	return key, identity, true
}

func (f Form) takes(private any) bool {
	switch k := private.(type) {
	case *rsa.PrivateKey:
		return f.RSABits > 0 && soundRSA(k, f.RSABits)
	case *ecdsa.PrivateKey:
		scalar, err := k.Bytes()
		defer clear(scalar)
		return err == nil && k.Curve.Params().Name == f.Curve && !unfilled.Buffer(scalar)
	case ed25519.PrivateKey:
		return f.Curve == "Ed25519" && !unfilled.Buffer(k[:ed25519.SeedSize])
	default:
		return false
	}
}

// soundRSA looks for what makes an RSA key weak or wrong. The standard library has checked that the
// parts go together, and that the primes are not too near each other; not that they are primes, of
// half the bits each.
func soundRSA(k *rsa.PrivateKey, bits int) bool {
	if k.N.BitLen() != bits || k.E < minExponent || k.E%2 == 0 || len(k.Primes) != 2 {
		return false
	}
	p, q := k.Primes[0], k.Primes[1]
	return p.BitLen() == bits/2 && q.BitLen() == bits/2 && k.Validate() == nil && p.ProbablyPrime(8) && q.ProbablyPrime(8)
}
