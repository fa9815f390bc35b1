package kms

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
)

// ParametersOf is GetParametersForImport with a wrapping key that is given: to make one takes
// longer than all that a test does with it.
func ParametersOf(ctx context.Context, m *Manager, ref string, private *rsa.PrivateKey) (ImportParameters, error) {
	c := m.begin(OpGetParametersForImport)
	e, err := m.lookup(ctx, c, ref, nil)
	if err != nil {
		return ImportParameters{}, err
	}
	p := ImportParameters{KeyID: e.record.id(), Spec: WrapRSA2048, Algorithm: WrapOAEP, ExpiresAt: c.now().Add(ImportTokenLife)}
	if p.PublicKey, err = x509.MarshalPKIXPublicKey(&private.PublicKey); err == nil {
		p.Token, err = e.record.sealToken(p, private)
	}
	return p, err
}
