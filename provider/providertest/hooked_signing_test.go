package providertest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

// abilities are the hooks of keys that do not encrypt.
type abilities struct {
	public    func(der []byte) []byte
	sign      func(sound signFunc, ctx context.Context, alg provider.SigningAlgorithm, input []byte) ([]byte, error)
	verify    func(err error, input, signature []byte) error
	turned    bool // Verify expects signatures of ED25519 backwards
	mac       func(mac []byte) []byte
	checkMac  func(err error, mac []byte) error
	oaep      func(plaintext []byte, err error, ciphertext []byte) ([]byte, error)
	shortOAEP bool                                        // zeros in front of a ciphertext may be left out
	open      func(out []byte, err error) ([]byte, error) // Decrypt of a key that does none
}

type signFunc func(ctx context.Context, alg provider.SigningAlgorithm, input []byte) ([]byte, error)

// hasAbilities tells whether keys of a spec do something else than to encrypt.
func hasAbilities(spec provider.Spec) bool {
	return slices.Contains([]provider.Spec{provider.RSA2048, provider.ECP256, provider.ECP384, provider.Ed25519, provider.MLDSA65,
		provider.HMAC256, provider.HMAC384, provider.HMAC512}, spec)
}

// withAbilities wraps an opened key that does not encrypt, so that it can what it could.
func (h *hooked) withAbilities(k provider.Key) provider.Key {
	base := hookedKey{Key: k, h: h}
	switch sound := k.(type) {
	case provider.MAC:
		return &hookedMAC{base, sound}
	case interface {
		provider.Signer
		provider.AsymmetricDecrypter
	}:
		return &hookedRSA{hookedSigner{base, sound}, sound}
	case provider.Signer:
		return &hookedSigner{base, sound}
	case provider.DataKeyGenerator:
		if h.dataKey == nil {
			return &base
		}
		return &hookedGenerator{base, sound}
	default:
		return &base
	}
}

type hookedGenerator struct {
	hookedKey
	sound provider.DataKeyGenerator
}

func (k *hookedGenerator) GenerateDataKey(ctx context.Context, dst, key, ad []byte) ([]byte, error) {
	return k.h.dataKey(k.sound.GenerateDataKey, ctx, dst, key, ad)
}

type hookedSigner struct {
	hookedKey
	sound provider.Signer
}

func (k *hookedSigner) PublicKey(ctx context.Context) ([]byte, error) {
	der, err := k.sound.PublicKey(ctx)
	if f := k.h.abilities.public; f != nil {
		der = f(der)
	}
	return der, err
}

func (k *hookedSigner) Sign(ctx context.Context, alg provider.SigningAlgorithm, input []byte) ([]byte, error) {
	if f := k.h.abilities.sign; f != nil {
		return f(k.sound.Sign, ctx, alg, input)
	}
	return k.sound.Sign(ctx, alg, input)
}

func (k *hookedSigner) Verify(ctx context.Context, alg provider.SigningAlgorithm, input, signature []byte) error {
	if k.h.abilities.turned && alg == provider.SignEd25519 {
		signature = bytes.Clone(signature)
		slices.Reverse(signature)
	}
	err := k.sound.Verify(ctx, alg, input, signature)
	if f := k.h.abilities.verify; f != nil {
		return f(err, input, signature)
	}
	return err
}

func (k *hookedSigner) Decrypt(ctx context.Context, dst, in, ad []byte) ([]byte, error) {
	out, err := k.Key.Decrypt(ctx, dst, in, ad)
	if f := k.h.abilities.open; f != nil {
		return f(out, err)
	}
	return out, err
}

type hookedRSA struct {
	hookedSigner
	soundRSA provider.AsymmetricDecrypter
}

func (k *hookedRSA) DecryptOAEP(ctx context.Context, ciphertext []byte) ([]byte, error) {
	if k.h.abilities.shortOAEP && len(ciphertext) < 256 {
		return k.soundRSA.DecryptOAEP(ctx, append(make([]byte, 256-len(ciphertext)), ciphertext...))
	}
	plaintext, err := k.soundRSA.DecryptOAEP(ctx, ciphertext)
	if f := k.h.abilities.oaep; f != nil {
		return f(plaintext, err, ciphertext)
	}
	return plaintext, err
}

type hookedMAC struct {
	hookedKey
	sound provider.MAC
}

func (k *hookedMAC) GenerateMac(ctx context.Context, alg provider.MacAlgorithm, message []byte) ([]byte, error) {
	mac, err := k.sound.GenerateMac(ctx, alg, message)
	if f := k.h.abilities.mac; f != nil && err == nil {
		mac = f(mac)
	}
	return mac, err
}

func (k *hookedMAC) VerifyMac(ctx context.Context, alg provider.MacAlgorithm, message, mac []byte) error {
	err := k.sound.VerifyMac(ctx, alg, message, mac)
	if f := k.h.abilities.checkMac; f != nil {
		return f(err, mac)
	}
	return err
}

// quick is the software provider with RSA keys from a few that were made before: hundreds of
// providers are broken here, and making an RSA key takes long.
type quick struct{ provider.Provider }

var (
	quickKeys = sync.OnceValue(func() (ders [4][]byte) {
		for i := range ders {
			private, err := rsa.GenerateKey(rand.Reader, 2048)
			if err == nil {
				ders[i], err = x509.MarshalPKCS8PrivateKey(private)
			}
			if err != nil {
				panic(err)
			}
		}
		return ders
	})
	quickNext atomic.Uint32
)

func (q quick) Generate(ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
	if spec != provider.RSA2048 {
		return q.Provider.Generate(ctx, id, spec, use)
	}
	ders := quickKeys()
	return software.New().Import(ctx, id, spec, use, ders[quickNext.Add(1)%uint32(len(ders))])
}
