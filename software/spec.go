package software

import (
	"fmt"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	tinkkey "github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac/hmac"
	"github.com/tink-crypto/tink-go/v2/signature/ecdsa"
	"github.com/tink-crypto/tink-go/v2/signature/ed25519"
	"github.com/tink-crypto/tink-go/v2/signature/mldsa"

	"github.com/keyhold/kms/internal/xaes"
	"github.com/keyhold/kms/provider"
)

// A kind is how the keys of a spec are made, opened and imported. No key has a prefix of
// Tink's: what it makes is what everybody else makes.
type kind struct {
	params func() (tinkkey.Parameters, error)
	open   func(*keyset.Handle, tinkkey.Key) (provider.Key, error)
	typed  func([]byte, tinkkey.Parameters) (tinkkey.Key, error) // an imported key; nil: none are
}

// kinds has a row for every spec.
var kinds = map[provider.Spec]kind{
	provider.AES256:  {xaesParams, openXAES, typedXAES},
	provider.RSA2048: {rsaParams(2048), openRSA, typedRSA},
	provider.RSA3072: {rsaParams(3072), openRSA, typedRSA},
	provider.RSA4096: {rsaParams(4096), openRSA, typedRSA},
	provider.ECP256:  {ecParams(ecdsa.NistP256, ecdsa.SHA256), openEC, typedEC},
	provider.ECP384:  {ecParams(ecdsa.NistP384, ecdsa.SHA384), openEC, typedEC},
	provider.Ed25519: {edParams, openEd25519, typedEd25519},
	provider.MLDSA65: {mldsaParams, openMLDSA, nil},
	provider.HMAC256: {hmacParams(32, hmac.SHA256), openHMAC, typedHMAC},
	provider.HMAC384: {hmacParams(48, hmac.SHA384), openHMAC, typedHMAC},
	provider.HMAC512: {hmacParams(64, hmac.SHA512), openHMAC, typedHMAC},
}

// kindOf finds the row of a spec, with its parameters.
func kindOf(spec provider.Spec) (kind, tinkkey.Parameters, error) {
	k, ok := kinds[spec]
	if !ok {
		return kind{}, nil, fmt.Errorf("%w: there are no software keys of that spec", provider.ErrUnsupported)
	}
	params, err := k.params()
	if err != nil {
		return kind{}, nil, fmt.Errorf("software: parameters of a key: %w", err)
	}
	return k, params, nil
}

// kindFor is kindOf for a new key. Keys are not kept apart by their use: the service is what
// keeps a software key from others.
func kindFor(spec provider.Spec, use provider.Use) (kind, tinkkey.Parameters, error) {
	k, params, err := kindOf(spec)
	if err == nil && !slices.Contains(spec.Uses(), use) {
		return kind{}, nil, fmt.Errorf("%w: there is no such use of keys of that spec", provider.ErrUnsupported)
	}
	return k, params, err
}

// sameKind tells whether a key with those parameters is of the kind with these. Imported
// RSA keys may have an exponent of their own.
func sameKind(want tinkkey.Parameters) func(tinkkey.Parameters) bool {
	return func(got tinkkey.Parameters) bool { return got.Equal(want) || sameRSA(got, want) }
}

func xaesParams() (tinkkey.Parameters, error) {
	return xaesgcm.NewParameters(xaesgcm.VariantNoPrefix, xaes.SaltSize)
}

func ecParams(curve ecdsa.CurveType, hash ecdsa.HashType) func() (tinkkey.Parameters, error) {
	return func() (tinkkey.Parameters, error) {
		return ecdsa.NewParameters(curve, hash, ecdsa.DER, ecdsa.VariantNoPrefix)
	}
}

func edParams() (tinkkey.Parameters, error) {
	params, err := ed25519.NewParameters(ed25519.VariantNoPrefix)
	return &params, err
}

func mldsaParams() (tinkkey.Parameters, error) {
	return mldsa.NewParameters(mldsa.MLDSA65, mldsa.VariantNoPrefix)
}

// hmacParams: a key and a tag of that many bytes.
func hmacParams(size int, hash hmac.HashType) func() (tinkkey.Parameters, error) {
	return func() (tinkkey.Parameters, error) {
		return hmac.NewParameters(hmac.ParametersOpts{
			KeySizeInBytes: size, TagSizeInBytes: size, HashType: hash, Variant: hmac.VariantNoPrefix,
		})
	}
}
