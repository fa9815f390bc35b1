package providertest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/keyhold/kms/provider"
)

func doing(a abilities) func() *hooked {
	return func() *hooked { h := base(); h.abilities = a; return h }
}

var brokenSigning = []broken{{
	name: "signs by another algorithm", fails: "signatures are what they are called",
	make: doing(abilities{
		sign: func(sound signFunc, ctx context.Context, alg provider.SigningAlgorithm, input []byte) ([]byte, error) {
			if alg == provider.SignRSAPSSSHA256 && len(input) == 32 {
				return sound(ctx, provider.SignRSAPKCS1SHA256, input)
			}
			return sound(ctx, alg, input)
		},
	}),
}, {
	name: "signs in a notation of its own", fails: "signatures are what they are called",
	make: doing(abilities{
		sign: func(sound signFunc, ctx context.Context, alg provider.SigningAlgorithm, input []byte) ([]byte, error) {
			made, err := sound(ctx, alg, input)
			if alg == provider.SignEd25519 && err == nil {
				slices.Reverse(made)
			}
			return made, err
		},
		turned: true,
	}),
}, {
	name: "takes a signature and a byte more", fails: "a signature is of its input",
	make: doing(abilities{verify: func(err error, _, signature []byte) error {
		if n := len(signature); errors.Is(err, provider.ErrSignature) && n == 257 {
			return nil
		}
		return err
	}}),
}, {
	name: "has no word for a wrong signature", fails: "a signature is of its input",
	make: doing(abilities{verify: func(err error, _, signature []byte) error {
		if errors.Is(err, provider.ErrSignature) && len(signature) == 0 {
			return errors.New("no signature")
		}
		return err
	}}),
}, {
	name: "gives its own bytes away", fails: "a public key stays",
	make: func() *hooked {
		h, kept := base(), map[string][]byte{}
		h.abilities.public = func(der []byte) []byte {
			if kept[string(der)] == nil {
				kept[string(der)] = bytes.Clone(der)
			}
			return kept[string(der)]
		}
		return h
	},
}, {
	name: "signs a digest of any length", fails: "a key does its own algorithms",
	make: doing(abilities{sign: func(sound signFunc, ctx context.Context, alg provider.SigningAlgorithm, input []byte) ([]byte, error) {
		if h, _ := alg.Hash(); h != 0 && len(input) < h.Size() {
			input = append(bytes.Clone(input), make([]byte, h.Size()-len(input))...)
		}
		return sound(ctx, alg, input)
	}}),
}, {
	name: "decrypts to nothing with a key that signs", fails: "a key does its own algorithms",
	make: doing(abilities{open: func(out []byte, err error) ([]byte, error) { return []byte{}, nil }}),
}, {
	name: "makes half a MAC", fails: "MACs verify",
	make: doing(abilities{mac: func(mac []byte) []byte { return mac[:16] }}),
}, {
	name: "takes half a MAC", fails: "MACs verify",
	make: doing(abilities{checkMac: func(err error, mac []byte) error {
		if len(mac) == 16 {
			return nil
		}
		return err
	}}),
}, {
	name: "drops zeros in front of a plaintext", fails: "OAEP opens",
	make: doing(abilities{oaep: func(plaintext []byte, err error, _ []byte) ([]byte, error) {
		if len(plaintext) == 190 {
			return plaintext[1:], err
		}
		return plaintext, err
	}}),
}, {
	name: "tells a short ciphertext", fails: "OAEP refuses alike",
	make: doing(abilities{oaep: func(plaintext []byte, err error, ciphertext []byte) ([]byte, error) {
		if len(ciphertext) == 255 {
			return nil, errors.New("short")
		}
		return plaintext, err
	}}),
}, {
	name: "takes a ciphertext without the zero in front", fails: "OAEP refuses alike",
	make: doing(abilities{shortOAEP: true}),
}, {
	name: "tells a wrong padding", fails: "OAEP refuses alike",
	make: doing(abilities{oaep: func(plaintext []byte, err error, ciphertext []byte) ([]byte, error) {
		if err != nil && len(ciphertext) == 256 && ciphertext[0] != 0 {
			return nil, errors.Join(err, errors.New("padding"))
		}
		return plaintext, err
	}}),
}}
