//go:build cgo

package hsm

import (
	"context"
	"crypto/hmac"

	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/provider"
)

// hmacs are the specs of keys that make MACs, with the bytes of key and MAC.
var hmacs = map[provider.Spec]struct {
	alg       provider.MacAlgorithm
	mechanism uint
	size      int
}{
	provider.HMAC256: {provider.MacHMACSHA256, pkcs11.CKM_SHA256_HMAC, 32},
	provider.HMAC384: {provider.MacHMACSHA384, pkcs11.CKM_SHA384_HMAC, 48},
	provider.HMAC512: {provider.MacHMACSHA512, pkcs11.CKM_SHA512_HMAC, 64},
}

// macKey is an opened key that makes MACs.
type macKey struct {
	noCipher
	key
}

var _ provider.MAC = (*macKey)(nil)

func openHMAC(t *Token, r reference) provider.Key {
	return &macKey{key: key{t: t, r: r, class: pkcs11.CKO_SECRET_KEY}}
}

func (k *macKey) GenerateMac(ctx context.Context, alg provider.MacAlgorithm, message []byte) ([]byte, error) {
	if alg != hmacs[k.r.spec].alg {
		return nil, unsupported("the algorithm is not that of the key")
	}
	message = own(ctx, message)
	return do(ctx, k.t, using, func(s *session) ([]byte, error) { return k.mac(s, message) })
}

func (k *macKey) VerifyMac(ctx context.Context, alg provider.MacAlgorithm, message, mac []byte) error {
	made, err := k.GenerateMac(ctx, alg, message)
	if err != nil {
		return err
	}
	if !hmac.Equal(made, mac) {
		return provider.ErrSignature
	}
	return nil
}

func (k *macKey) mac(s *session, message []byte) ([]byte, error) {
	h, err := k.handle(s)
	if err != nil {
		return nil, err
	}
	kind := hmacs[k.r.spec]
	if err := s.g.p.SignInit(s.h, []*pkcs11.Mechanism{pkcs11.NewMechanism(kind.mechanism, nil)}, h); err != nil {
		return nil, s.fail("C_SignInit", err)
	}
	mac, err := s.g.p.Sign(s.h, message)
	if err == nil && len(mac) != kind.size {
		s.spent = true
		return nil, unsupported("the token's MACs have another length")
	}
	return mac, s.fail("C_Sign", err)
}

func (k *macKey) try(s *session) error {
	_, err := k.mac(s, []byte("keyhold"))
	return err
}

func generateHMAC(s *session, k kind, o object) ([]byte, error) {
	_, err := s.generateSecret(k.maker, pkcs11.CKK_GENERIC_SECRET, k.size, o)
	return nil, err
}

func bringHMAC(s *session, k kind, o object, value []byte) ([]byte, error) {
	if len(value) != k.size {
		return nil, unsupported("not a key of that spec")
	}
	return nil, s.bringSecret(pkcs11.CKK_GENERIC_SECRET, o, value)
}
