package kms

import (
	"context"

	"github.com/keyhold/kms/provider"
)

// GenerateMac makes the MAC of a message of up to 64 KiB with a key of usage
// GENERATE/VERIFY_MAC. The algorithm is that of the key's spec: HMAC_SHA_256 for HMAC_256, and
// so on; another is ErrUnsupported. The MAC is as long as the hash, and no shorter one is
// valid.
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
		return nil, invalid(c.op, "the MAC algorithm")
	case len(message) > MaxMessage:
		return nil, invalid(c.op, "the message is longer than 64 KiB")
	}
	e, err := m.lookup(ctx, c, ref, nil)
	if err != nil {
		return nil, err
	}
	if e.record.Spec != spec {
		return nil, refuseBecause(c.op, c.keyID, ErrUnsupported, "the algorithm is not that of the key's spec", nil)
	}
	return ability[provider.MAC](ctx, m, c, e)
}
