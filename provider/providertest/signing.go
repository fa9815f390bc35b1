package providertest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/provider"
)

func signingCases() []promise {
	return []promise{{
		Name: "signatures are what they are called",
		Why:  "Who verifies has the public key and another library: a signature is by the algorithm that was asked for, of that input, and Verify agrees.",
		Run:  signaturesVerify,
	}, {
		Name: "a signature is of its input",
		Why:  "Verify has one answer, ErrSignature, for a signature that was changed, or is of another input or another key.",
		Run:  signaturesBind,
	}, {
		Name: "a public key stays",
		Why:  "A public key is handed out and relied upon for years: it is the same whenever the key is opened.",
		Run:  publicKeyStays,
	}, {
		Name: "a key does its own algorithms",
		Why:  "An algorithm of another spec, a digest of another length, and encryption with a key that does none are ErrUnsupported: there is no near enough.",
		Run:  ownAlgorithms,
	}}
}

// The signing specs that are run, with their algorithms. Larger RSA keys differ in nothing
// but the time they take.
var signingSpecs = []struct {
	spec provider.Spec
	algs []provider.SigningAlgorithm
}{
	{provider.ECP256, []provider.SigningAlgorithm{provider.SignECDSASHA256}},
	{provider.ECP384, []provider.SigningAlgorithm{provider.SignECDSASHA384}},
	{provider.Ed25519, []provider.SigningAlgorithm{provider.SignEd25519}},
	{provider.MLDSA65, []provider.SigningAlgorithm{provider.SignMLDSA65}},
	{provider.RSA2048, []provider.SigningAlgorithm{
		provider.SignRSAPSSSHA256, provider.SignRSAPSSSHA384, provider.SignRSAPSSSHA512,
		provider.SignRSAPKCS1SHA256, provider.SignRSAPKCS1SHA384, provider.SignRSAPKCS1SHA512}},
}

// eachSigner calls run with a key of every spec that the provider offers.
func (f *fixture) eachSigner(run func(id string, material []byte, spec provider.Spec, s provider.Signer, algs []provider.SigningAlgorithm)) {
	f.Helper()
	for _, c := range signingSpecs {
		if id, material, ok := f.offered(c.spec, provider.UseSign); ok {
			run(id, material, c.spec, able[provider.Signer](f, f.openOf(id, c.spec, material)), c.algs)
		}
	}
}

// able is the ability of a key, which it must have.
func able[T any](f *fixture, k provider.Key) T {
	f.Helper()
	a, ok := k.(T)
	if !ok {
		f.Fatalf("the opened key, a %T, is no %T", k, new(T))
	}
	return a
}

// input is something that can be signed by an algorithm.
func input(alg provider.SigningAlgorithm) []byte {
	if h, _ := alg.Hash(); h != 0 {
		return suite.Random(h.Size())
	}
	return suite.Random(1000)
}

func (f *fixture) sign(s provider.Signer, alg provider.SigningAlgorithm, input []byte) []byte {
	f.Helper()
	before := bytes.Clone(input)
	made, err := s.Sign(f.Context(), alg, input)
	if err != nil {
		f.Fatalf("Sign by %s: %v", alg, err)
	}
	if !bytes.Equal(before, input) {
		f.Fatalf("Sign by %s changed its input", alg)
	}
	return made
}

func (f *fixture) public(k interface {
	PublicKey(context.Context) ([]byte, error)
}) []byte {
	f.Helper()
	der, err := k.PublicKey(f.Context())
	if err != nil {
		f.Fatalf("PublicKey: %v", err)
	}
	return der
}

func signaturesVerify(f *fixture) {
	f.eachSigner(func(_ string, _ []byte, spec provider.Spec, s provider.Signer, algs []provider.SigningAlgorithm) {
		public, err := x509.ParsePKIXPublicKey(f.public(s))
		if err != nil && spec != provider.MLDSA65 { // which the standard library does not know
			f.Fatalf("%s: the public key is no SubjectPublicKeyInfo: %v", spec, err)
		}
		for _, alg := range algs {
			for range 5 {
				in := input(alg)
				made := f.sign(s, alg, in)
				if err := s.Verify(f.Context(), alg, in, made); err != nil {
					f.Fatalf("%s: Verify of a signature just made: %v", alg, err)
				}
				if err == nil && !verifies(public, alg, in, made) {
					f.Fatalf("%s: the standard library does not find the signature valid", alg)
				}
			}
		}
	})
}

// verifies asks the standard library.
func verifies(public crypto.PublicKey, alg provider.SigningAlgorithm, in, made []byte) bool {
	h, _ := alg.Hash()
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(p, in, made)
	case ed25519.PublicKey:
		return ed25519.Verify(p, in, made)
	case *rsa.PublicKey:
		if strings.Contains(string(alg), "PSS") {
			return rsa.VerifyPSS(p, h, in, made, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(p, h, in, made) == nil
	default:
		return true // of a kind that it does not know
	}
}

func signaturesBind(f *fixture) {
	f.eachSigner(func(_ string, _ []byte, spec provider.Spec, s provider.Signer, algs []provider.SigningAlgorithm) {
		otherID, otherMaterial, _ := f.offered(spec, provider.UseSign)
		other := able[provider.Signer](f, f.openOf(otherID, spec, otherMaterial))
		for _, alg := range algs {
			in := input(alg)
			made := f.sign(s, alg, in)
			refused := func(s provider.Signer, in, made []byte, what string) {
				f.Helper()
				if err := s.Verify(f.Context(), alg, in, made); !errors.Is(err, provider.ErrSignature) {
					f.Fatalf("%s: Verify of %s: %v; want ErrSignature", alg, what, err)
				}
			}
			refused(other, in, made, "another key's signature")
			refused(s, suite.Flip(in, 0), made, "a signature of another input")
			refused(s, in, nil, "nothing")
			refused(s, in, suite.Join(made, []byte{0}), "a signature and a byte more")
			for n := 0; n < len(made); n += max(1, len(made)/64) {
				refused(s, in, suite.Flip(made, 8*n), fmt.Sprintf("a signature with byte %d changed", n))
				refused(s, in, made[:n], fmt.Sprintf("the first %d bytes of a signature", n))
			}
		}
	})
}

func publicKeyStays(f *fixture) {
	f.eachSigner(func(id string, material []byte, spec provider.Spec, s provider.Signer, algs []provider.SigningAlgorithm) {
		public, alg := bytes.Clone(f.public(s)), algs[len(algs)-1]
		in := input(alg)
		made := f.sign(s, alg, in)
		suite.Scribble(f.public(s)) // what was returned is the caller's
		for range 3 {
			again := able[provider.Signer](f, f.openOf(id, spec, bytes.Clone(material)))
			if !bytes.Equal(public, f.public(again)) {
				f.Fatalf("%s: the public key is another when the key is opened again", spec)
			}
			if err := again.Verify(f.Context(), alg, in, made); err != nil {
				f.Fatalf("%s: Verify of a signature from before: %v", spec, err)
			}
		}
	})
}

func ownAlgorithms(f *fixture) {
	f.eachSigner(func(id string, material []byte, spec provider.Spec, s provider.Signer, algs []provider.SigningAlgorithm) {
		for _, alg := range []provider.SigningAlgorithm{"", "RSA_PSS_SHA_1", provider.SignECDSASHA256, provider.SignECDSASHA384, provider.SignEd25519,
			provider.SignMLDSA65, provider.SignRSAPSSSHA256, provider.SignRSAPKCS1SHA512} {
			in := input(alg)
			if h, _ := alg.Hash(); slices.Contains(algs, alg) {
				if h == 0 {
					continue
				}
				in = in[1:] // its own algorithm, and a digest that is none
			}
			if made, err := s.Sign(f.Context(), alg, in); !errors.Is(err, provider.ErrUnsupported) || made != nil {
				f.Fatalf("%s: Sign by %q of %d bytes: %d bytes, %v; want none and ErrUnsupported", spec, alg, len(in), len(made), err)
			}
			if err := s.Verify(f.Context(), alg, in, suite.Random(64)); !errors.Is(err, provider.ErrUnsupported) {
				f.Fatalf("%s: Verify by %q of %d bytes: %v; want ErrUnsupported", spec, alg, len(in), err)
			}
		}
		k := f.openOf(id, spec, material)
		if out, err := k.Encrypt(f.Context(), nil, suite.Random(8), nil); !errors.Is(err, provider.ErrUnsupported) || out != nil {
			f.Fatalf("%s: Encrypt: %v; want ErrUnsupported", spec, err)
		}
		if out, err := k.Decrypt(f.Context(), nil, suite.Random(300), nil); !errors.Is(err, provider.ErrUnsupported) || out != nil {
			f.Fatalf("%s: Decrypt: %v; want ErrUnsupported", spec, err)
		}
	})
}
