//go:build cgo

package hsm

import (
	"crypto/elliptic"
	"slices"

	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/provider"
)

// A kind is how the keys of a spec and use are made, what they are for in the token's terms,
// and what the token must be able to do for them.
type kind struct {
	maker    uint // the mechanism that generates them
	size     int  // of a key: in bits, and of secret keys in bytes
	curve    elliptic.Curve
	uses     []uint
	opposite []uint // of the public half
	needs    []need // beside the maker
	generate func(*session, kind, object) (public []byte, err error)
	bring    func(*session, kind, object, []byte) (public []byte, err error) // an imported key
	open     func(*Token, reference) provider.Key
}

// A need is a mechanism for something. Of several that are joined by or, one will do.
type need struct {
	mechanism, flag uint
	or              uint // another mechanism; 0 is none
}

// kindOf is the kind of a spec and use; false where a token has no such keys.
func kindOf(spec provider.Spec, use provider.Use) (kind, bool) {
	if !slices.Contains(spec.Uses(), use) {
		return kind{}, false
	}
	switch spec {
	case provider.AES256, provider.AES192, provider.AES128:
		return kind{maker: pkcs11.CKM_AES_KEY_GEN, size: aesSizes[spec], uses: []uint{pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT},
			needs:    []need{{mechanism: pkcs11.CKM_AES_GCM, flag: pkcs11.CKF_ENCRYPT}, {mechanism: pkcs11.CKM_AES_GCM, flag: pkcs11.CKF_DECRYPT}},
			generate: generateAES, bring: bringAES, open: openAES}, true
	case provider.HMAC256, provider.HMAC384, provider.HMAC512:
		h := hmacs[spec]
		return kind{maker: pkcs11.CKM_GENERIC_SECRET_KEY_GEN, size: h.size, uses: []uint{pkcs11.CKA_SIGN},
			needs:    []need{{mechanism: h.mechanism, flag: pkcs11.CKF_SIGN}},
			generate: generateHMAC, bring: bringHMAC, open: openHMAC}, true
	case provider.ECP256:
		return ecKind(elliptic.P256()), true
	case provider.ECP384:
		return ecKind(elliptic.P384()), true
	case provider.RSA2048:
		return rsaKind(2048, use), true
	case provider.RSA3072:
		return rsaKind(3072, use), true
	case provider.RSA4096:
		return rsaKind(4096, use), true
	}
	return kind{}, false
}

func ecKind(curve elliptic.Curve) kind {
	return kind{maker: pkcs11.CKM_EC_KEY_PAIR_GEN, size: curve.Params().BitSize, curve: curve,
		uses: []uint{pkcs11.CKA_SIGN}, opposite: []uint{pkcs11.CKA_VERIFY},
		needs:    []need{{mechanism: pkcs11.CKM_ECDSA, flag: pkcs11.CKF_SIGN}},
		generate: generateEC, bring: bringEC, open: openSigner}
}

func rsaKind(bits int, use provider.Use) kind {
	k := kind{maker: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, size: bits, generate: generateRSA, bring: bringRSA}
	if use == provider.UseDecrypt {
		k.uses, k.opposite, k.open = []uint{pkcs11.CKA_DECRYPT}, []uint{pkcs11.CKA_ENCRYPT}, openDecrypter
		k.needs = []need{{mechanism: pkcs11.CKM_RSA_PKCS_OAEP, flag: pkcs11.CKF_DECRYPT, or: pkcs11.CKM_RSA_X_509}}
		return k
	}
	k.uses, k.opposite, k.open = []uint{pkcs11.CKA_SIGN}, []uint{pkcs11.CKA_VERIFY}, openSigner
	k.needs = []need{{mechanism: pkcs11.CKM_RSA_PKCS_PSS, flag: pkcs11.CKF_SIGN}, {mechanism: pkcs11.CKM_RSA_PKCS, flag: pkcs11.CKF_SIGN}}
	return k
}

// class is that of the object that stays inside.
func (k kind) class() uint {
	if k.opposite == nil {
		return pkcs11.CKO_SECRET_KEY
	}
	return pkcs11.CKO_PRIVATE_KEY
}

// offers asks the token whether it can make and use keys of a kind.
func (s *session) offers(k kind, imported bool) error {
	if !imported {
		info, err := s.mechanism(k.maker)
		if err != nil {
			return err
		}
		// Sizes are in bits or in bytes, as modules please.
		inside := func(n int) bool { return uint(n) >= info.MinKeySize && uint(n) <= info.MaxKeySize }
		if info.MaxKeySize > 0 && !inside(k.size) && !inside(8*k.size) {
			return unsupported("the token makes no keys of that size")
		}
	}
	for _, n := range k.needs {
		info, err := s.mechanism(n.mechanism)
		if (err != nil || info.Flags&n.flag == 0) && n.or != 0 {
			info, err = s.mechanism(n.or)
		}
		if err != nil {
			return err
		}
		if info.Flags&n.flag == 0 {
			return unsupported("the token has the mechanism, and not for that use")
		}
	}
	return nil
}

func (s *session) mechanism(m uint) (pkcs11.MechanismInfo, error) {
	info, err := s.g.p.GetMechanismInfo(s.g.slot, []*pkcs11.Mechanism{pkcs11.NewMechanism(m, nil)})
	return info, s.fail("C_GetMechanismInfo", err)
}
