package providertest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/provider"
)

func macAndOAEPCases() []promise {
	return []promise{{
		Name: "MACs verify",
		Why:  "A MAC is as long as the hash and the same every time; all else, also a part of it, is ErrSignature.",
		Run:  macsVerify,
	}, {
		Name: "OAEP opens",
		Why:  "What anybody encrypts under the public key, with OAEP and SHA-256, comes back.",
		Run:  oaepOpens,
	}, {
		Name: "OAEP refuses alike",
		Why:  "All that can be wrong with a ciphertext is ErrCiphertext, with one text: whoever can tell the reasons apart can decrypt.",
		Run:  oaepRefuses,
	}}
}

func macsVerify(f *fixture) {
	for _, c := range []struct {
		spec provider.Spec
		alg  provider.MacAlgorithm
		size int
	}{
		{provider.HMAC256, provider.MacHMACSHA256, 32}, {provider.HMAC384, provider.MacHMACSHA384, 48}, {provider.HMAC512, provider.MacHMACSHA512, 64},
	} {
		id, material, ok := f.offered(c.spec, provider.UseMac)
		if !ok {
			continue
		}
		k, again := able[provider.MAC](f, f.openOf(id, c.spec, material)), able[provider.MAC](f, f.openOf(id, c.spec, material))
		message := suite.Random(1000)
		mac, err := k.GenerateMac(f.Context(), c.alg, message)
		if err != nil || len(mac) != c.size {
			f.Fatalf("%s: GenerateMac: %d bytes, %v; want %d", c.spec, len(mac), err, c.size)
		}
		if second, err := again.GenerateMac(f.Context(), c.alg, message); err != nil || !bytes.Equal(mac, second) {
			f.Fatalf("%s: GenerateMac: another MAC the second time, or %v", c.spec, err)
		}
		if err := again.VerifyMac(f.Context(), c.alg, message, mac); err != nil {
			f.Fatalf("%s: VerifyMac of a MAC just made: %v", c.spec, err)
		}
		refused := func(message, mac []byte, what string) {
			f.Helper()
			if err := k.VerifyMac(f.Context(), c.alg, message, mac); !errors.Is(err, provider.ErrSignature) {
				f.Fatalf("%s: VerifyMac of %s: %v; want ErrSignature", c.spec, what, err)
			}
		}
		for n := range mac {
			refused(message, mac[:n], fmt.Sprintf("the first %d bytes", n))
			refused(message, suite.Flip(mac, 8*n), fmt.Sprintf("a MAC with byte %d changed", n))
		}
		refused(message, suite.Join(mac, []byte{0}), "a MAC and a byte more")
		refused(suite.Flip(message, 0), mac, "a MAC of another message")
		if _, err := k.GenerateMac(f.Context(), "HMAC_SHA_1", message); !errors.Is(err, provider.ErrUnsupported) {
			f.Fatalf("%s: GenerateMac by HMAC_SHA_1: %v; want ErrUnsupported", c.spec, err)
		}
	}
}

// decrypter is an RSA key, where the provider offers one.
func (f *fixture) decrypter() (provider.AsymmetricDecrypter, *rsa.PublicKey, bool) {
	f.Helper()
	id, material, ok := f.offered(provider.RSA2048, provider.UseDecrypt)
	if !ok {
		return nil, nil, false
	}
	d := able[provider.AsymmetricDecrypter](f, f.openOf(id, provider.RSA2048, material))
	public, err := x509.ParsePKIXPublicKey(f.public(d))
	key, isRSA := public.(*rsa.PublicKey)
	if err != nil || !isRSA {
		f.Fatalf("the public key is no SubjectPublicKeyInfo of an RSA key: %v", err)
	}
	return d, key, true
}

func oaepOpens(f *fixture) {
	d, public, ok := f.decrypter()
	if !ok {
		return
	}
	for _, n := range []int{0, 1, 32, 190} {
		plaintext := suite.Random(n)
		ciphertext, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, plaintext, nil)
		if err != nil {
			f.Fatalf("encrypting %d bytes: %v", n, err)
		}
		got, err := d.DecryptOAEP(f.Context(), ciphertext)
		if err != nil || !bytes.Equal(got, plaintext) {
			f.Fatalf("DecryptOAEP of %d bytes: %v, or another plaintext", n, err)
		}
	}
}

func oaepRefuses(f *fixture) {
	d, public, ok := f.decrypter()
	if !ok {
		return
	}
	plaintext := suite.Random(32)
	ciphertext, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, plaintext, nil)
	if err != nil {
		f.Fatalf("encrypting: %v", err)
	}
	labelled, _ := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, plaintext, []byte("label"))
	otherHash, _ := rsa.EncryptOAEP(sha512.New(), rand.Reader, public, plaintext, nil)
	// A ciphertext is a number in as many bytes as the modulus has, zeros in front included.
	short := ciphertext
	for short[0] != 0 {
		if short, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, public, plaintext, nil); err != nil {
			f.Fatalf("encrypting: %v", err)
		}
	}
	want := ""
	for i, bad := range [][]byte{nil, {0}, ciphertext[1:], short[1:], ciphertext[:255], suite.Join(ciphertext, []byte{0}), make([]byte, 256), bytes.Repeat([]byte{255}, 256),
		suite.Flip(ciphertext, 0), suite.Flip(ciphertext, 1000), suite.Flip(ciphertext, 2047), labelled, otherHash} {
		got, err := d.DecryptOAEP(f.Context(), bad)
		if !errors.Is(err, provider.ErrCiphertext) || got != nil {
			f.Fatalf("bad ciphertext %d: %d bytes, %v; want none and ErrCiphertext", i, len(got), err)
		}
		if want == "" {
			want = err.Error()
		}
		if err.Error() != want {
			f.Fatalf("bad ciphertext %d: the text is %q, and for another %q", i, err, want)
		}
	}
}
