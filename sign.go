package kms

import (
	"context"
	_ "crypto/sha512" // the hash of some algorithms
	"maps"
	"slices"

	"github.com/keyhold/kms/provider"
)

// MaxMessage is the longest message, in bytes, that is signed as it is (ED25519, ML_DSA_65) or
// given a MAC: 64 KiB. For the algorithms that have a hash there is no bound.
const MaxMessage = 64 << 10

// Sign signs a message with a key of usage SIGN/VERIFY. The algorithm is one of the key's
// spec; another is ErrUsage.
//
//	RSA_2048, RSA_3072, RSA_4096  RSA_PSS_SHA_256, _384, _512, RSA_PKCS1_SHA_256, _384, _512
//	EC_P256                       ECDSA_SHA_256, in DER
//	EC_P384                       ECDSA_SHA_384, in DER
//	ED25519                       ED25519
//	ML_DSA_65                     ML_DSA_65, without a context
//
// The signature names no key. Who verifies it has to know which key to ask. If ref is an alias, the
// Event that Config.Observe gets says which key signed.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) Sign(ctx context.Context, ref string, alg SigningAlgorithm, message []byte) (_ []byte, err error) {
	c := m.begin(OpSign)
	defer c.end(ctx, &err)
	input, err := messageInput(c.op, alg, message)
	if err != nil {
		return nil, err
	}
	return m.sign(ctx, c, ref, alg, input)
}

// SignDigest is Sign for a caller who has the digest of the message, by the hash of the
// algorithm. ED25519 and ML_DSA_65 have none: they are ErrInvalid.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) SignDigest(ctx context.Context, ref string, alg SigningAlgorithm, digest []byte) (_ []byte, err error) {
	c := m.begin(OpSign)
	defer c.end(ctx, &err)
	if err := checkDigest(c.op, alg, digest); err != nil {
		return nil, err
	}
	return m.sign(ctx, c, ref, alg, digest)
}

// Verify returns nil if that is a signature of the message by that key and algorithm, and
// ErrSignature if it is not. A key that is not Enabled verifies nothing; with its public
// key (GetPublicKey) anybody can.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) Verify(ctx context.Context, ref string, alg SigningAlgorithm, message, signature []byte) (err error) {
	c := m.begin(OpVerify)
	defer c.end(ctx, &err)
	input, err := messageInput(c.op, alg, message)
	if err != nil {
		return err
	}
	return m.verify(ctx, c, ref, alg, input, signature)
}

// VerifyDigest is Verify for a caller who has the digest of the message, as in SignDigest.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) VerifyDigest(ctx context.Context, ref string, alg SigningAlgorithm, digest, signature []byte) (err error) {
	c := m.begin(OpVerify)
	defer c.end(ctx, &err)
	if err := checkDigest(c.op, alg, digest); err != nil {
		return err
	}
	return m.verify(ctx, c, ref, alg, digest, signature)
}

// messageInput is what a provider is given to sign for a message: its digest, or itself.
func messageInput(op Op, alg SigningAlgorithm, message []byte) ([]byte, error) {
	hash, known := alg.Hash()
	switch {
	case !known:
		return nil, badAlgorithm(op)
	case hash != 0:
		h := hash.New()
		h.Write(message)
		return h.Sum(nil), nil
	case len(message) > MaxMessage:
		return nil, longMessage(op)
	}
	return message, nil
}

func badAlgorithm(op Op) error {
	return invalid(op, "the signing algorithm is none of %s", listed(slices.Collect(maps.Keys(signingSpecs))))
}

func longMessage(op Op) error {
	return invalid(op, "the message is longer than %d KiB, and the algorithm takes it as it is", MaxMessage>>10)
}

func checkDigest(op Op, alg SigningAlgorithm, digest []byte) error {
	hash, known := alg.Hash()
	switch {
	case !known:
		return badAlgorithm(op)
	case hash == 0:
		return invalid(op, "the algorithm %s signs messages, not digests", alg)
	case len(digest) != hash.Size():
		return invalid(op, "the digest is not %d bytes long, as that of %s", hash.Size(), alg)
	}
	return nil
}

func (m *Manager) sign(ctx context.Context, c *call, ref string, alg SigningAlgorithm, input []byte) ([]byte, error) {
	signer, err := m.signer(ctx, c, ref, alg)
	if err != nil {
		return nil, err
	}
	signature, err := signer.Sign(ctx, alg, input)
	if err != nil {
		return nil, fromProvider(c.op, c.keyID, err)
	}
	return signature, nil
}

func (m *Manager) verify(ctx context.Context, c *call, ref string, alg SigningAlgorithm, input, signature []byte) error {
	signer, err := m.signer(ctx, c, ref, alg)
	if err != nil {
		return err
	}
	if err := signer.Verify(ctx, alg, input, signature); err != nil {
		return fromProvider(c.op, c.keyID, err)
	}
	return nil
}

// signer finds and opens a key that signs by that algorithm.
func (m *Manager) signer(ctx context.Context, c *call, ref string, alg SigningAlgorithm) (provider.Signer, error) {
	e, err := m.lookup(ctx, c, ref, nil)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(signingSpecs[alg], e.record.Spec) {
		return nil, otherAlgorithm(c, e.record.Spec, algorithmsOf(e.record.Spec))
	}
	return ability[provider.Signer](ctx, m, c, e)
}

// otherAlgorithm refuses an algorithm that is not one of the key's spec.
func otherAlgorithm[T ~string](c *call, spec Spec, of []T) error {
	return &refusal{op: c.op, keyID: c.keyID, cond: ErrUsage, text: "the algorithm is not one of the key's spec, which is " + string(spec),
		hint: "The algorithms of the spec are " + listed(of) + "."}
}

// ability opens the primary version of a key, which has to be able to do that.
func ability[T any](ctx context.Context, m *Manager, c *call, e *entry) (able T, err error) {
	key, err := m.openPrimary(ctx, c, e)
	if err != nil {
		return able, err
	}
	able, ok := key.Key.(T)
	if !ok {
		return able, notByProvider(c.op, c.keyID, nil)
	}
	return able, nil
}

// GenerateMac makes the MAC of a message of up to 64 KiB with a key of usage
// GENERATE/VERIFY_MAC. The algorithm is that of the key's spec: HMAC_SHA_256 for HMAC_256, and
// so on; another is ErrUsage. The MAC is as long as the hash, and no shorter one is
// valid.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) GenerateMac(ctx context.Context, ref string, alg MacAlgorithm, message []byte) (_ []byte, err error) {
	c := m.begin(OpGenerateMac)
	defer c.end(ctx, &err)
	key, err := m.macKey(ctx, c, ref, alg, message)
	if err != nil {
		return nil, err
	}
	mac, err := key.GenerateMac(ctx, alg, message)
	if err != nil {
		return nil, fromProvider(c.op, c.keyID, err)
	}
	return mac, nil
}

// VerifyMac returns nil if that is the MAC of the message by that key and algorithm, and
// ErrSignature if it is not.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) VerifyMac(ctx context.Context, ref string, alg MacAlgorithm, message, mac []byte) (err error) {
	c := m.begin(OpVerifyMac)
	defer c.end(ctx, &err)
	key, err := m.macKey(ctx, c, ref, alg, message)
	if err != nil {
		return err
	}
	if err := key.VerifyMac(ctx, alg, message, mac); err != nil {
		return fromProvider(c.op, c.keyID, err)
	}
	return nil
}

// macKey finds and opens a key that makes MACs by that algorithm.
func (m *Manager) macKey(ctx context.Context, c *call, ref string, alg MacAlgorithm, message []byte) (provider.MAC, error) {
	spec, known := macSpecs[alg]
	switch {
	case !known:
		return nil, invalid(c.op, "the MAC algorithm is none of %s", listed(slices.Collect(maps.Keys(macSpecs))))
	case len(message) > MaxMessage:
		return nil, longMessage(c.op)
	}
	e, err := m.lookup(ctx, c, ref, nil)
	if err != nil {
		return nil, err
	}
	if e.record.Spec != spec {
		return nil, otherAlgorithm(c, e.record.Spec, macsOf(e.record.Spec))
	}
	return ability[provider.MAC](ctx, m, c, e)
}
