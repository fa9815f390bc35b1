package faults_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// A lame provider cannot open keys, or opens keys that cannot do what they are asked for.
type lame struct {
	*software.Provider
	open func(own provider.Key) (provider.Key, error)
}

func (p *lame) Open(ctx context.Context, id string, spec provider.Spec, material []byte) (provider.Key, error) {
	key, err := p.Provider.Open(ctx, id, spec, material)
	if err != nil {
		return nil, err
	}
	return p.open(key)
}

// ablest is a key with every ability, each of which fails; its public key is what der says, if it does.
type ablest struct {
	provider.Key
	err error
	der []byte
}

func (k ablest) Encrypt(_ context.Context, _, _, _ []byte) ([]byte, error) { return nil, k.err }
func (k ablest) Decrypt(_ context.Context, _, _, _ []byte) ([]byte, error) { return nil, k.err }
func (k ablest) PublicKey(context.Context) ([]byte, error) {
	if k.der != nil {
		return k.der, nil
	}
	return nil, k.err
}
func (k ablest) Sign(context.Context, provider.SigningAlgorithm, []byte) ([]byte, error) {
	return nil, k.err
}
func (k ablest) Verify(context.Context, provider.SigningAlgorithm, []byte, []byte) error {
	return k.err
}
func (k ablest) DecryptOAEP(context.Context, []byte) ([]byte, error) { return nil, k.err }
func (k ablest) GenerateMac(context.Context, provider.MacAlgorithm, []byte) ([]byte, error) {
	return nil, k.err
}
func (k ablest) VerifyMac(context.Context, provider.MacAlgorithm, []byte, []byte) error { return k.err }

// askedOfKeys are the uses of keys, and what the key is.
var askedOfKeys = map[string]struct {
	spec  kms.Spec
	usage kms.Usage
	call  func(ctx context.Context, m *kms.Manager, id string) error
}{
	"Encrypt": {kms.SpecAES256, "", func(ctx context.Context, m *kms.Manager, id string) error {
		return kit.Err(m.Encrypt(ctx, id, nil, nil))
	}},
	"GenerateMac": {kms.SpecHMAC256, "", func(ctx context.Context, m *kms.Manager, id string) error {
		return kit.Err(m.GenerateMac(ctx, id, kms.MacHMACSHA256, nil))
	}},
	"VerifyMac": {kms.SpecHMAC256, "", func(ctx context.Context, m *kms.Manager, id string) error {
		return m.VerifyMac(ctx, id, kms.MacHMACSHA256, nil, make([]byte, 32))
	}},
	"Sign": {kms.SpecECP256, "", func(ctx context.Context, m *kms.Manager, id string) error {
		return kit.Err(m.Sign(ctx, id, kms.SignECDSASHA256, nil))
	}},
	"Verify": {kms.SpecECP256, "", func(ctx context.Context, m *kms.Manager, id string) error {
		return m.Verify(ctx, id, kms.SignECDSASHA256, nil, make([]byte, 70))
	}},
	"GetPublicKey": {kms.SpecECP256, "", func(ctx context.Context, m *kms.Manager, id string) error {
		return kit.Err(m.GetPublicKey(ctx, id))
	}},
	"AsymmetricEncrypt": {kms.SpecRSA2048, kms.UsageEncryptDecrypt, func(ctx context.Context, m *kms.Manager, id string) error {
		return kit.Err(m.AsymmetricEncrypt(ctx, id, nil))
	}},
	"AsymmetricDecrypt": {kms.SpecRSA2048, kms.UsageEncryptDecrypt, func(ctx context.Context, m *kms.Manager, id string) error {
		return kit.Err(m.AsymmetricDecrypt(ctx, id, make([]byte, 256)))
	}},
}

// TestLameProvider: what a provider cannot do is told by a condition of this package, with what
// the provider said where it is out of order; and the key does it when the provider can again.
func TestLameProvider(t *testing.T) {
	broken := errors.New("the token was pulled out")
	public, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	foreign, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	own := func(key provider.Key) (provider.Key, error) { return key, nil }
	for name, row := range map[string]struct {
		open func(provider.Key) (provider.Key, error)
		want string
		says error    // what the provider said, where that is told
		of   []string // nil: all
	}{
		"does not open": {func(provider.Key) (provider.Key, error) { return nil, broken }, "ErrUnavailable", broken, nil},
		"lost the key":  {func(provider.Key) (provider.Key, error) { return nil, provider.ErrNoKey }, "ErrMaterialGone", nil, nil},
		"is broken":     {func(key provider.Key) (provider.Key, error) { return ablest{Key: key, err: broken}, nil }, "ErrUnavailable", broken, nil},
		"cannot": {func(key provider.Key) (provider.Key, error) { return struct{ provider.Key }{key}, nil }, "ErrUnsupported", nil,
			[]string{"GenerateMac", "VerifyMac", "Sign", "Verify", "GetPublicKey", "AsymmetricEncrypt", "AsymmetricDecrypt"}},
		"has no public key": {func(key provider.Key) (provider.Key, error) { return ablest{Key: key, der: []byte{0x30, 0}}, nil }, "ErrUnavailable", nil,
			[]string{"GetPublicKey", "AsymmetricEncrypt"}},
		"has another public key": {func(key provider.Key) (provider.Key, error) { return ablest{Key: key, der: foreign}, nil }, "ErrUnavailable", nil,
			[]string{"AsymmetricEncrypt"}},
	} {
		t.Run(name, func(t *testing.T) {
			if row.of == nil {
				row.of = slices.Sorted(maps.Keys(askedOfKeys))
			}
			p := &lame{Provider: software.New(), open: own}
			k := kmstest.New(t, func(c *kms.Config) { c.Software = p })
			for _, method := range row.of {
				asked := askedOfKeys[method]
				key, err := k.CreateKey(t.Context(), &kms.CreateKeyOptions{Spec: asked.spec, Usage: asked.usage})
				require.NoError(t, err)
				before := kit.StoredItems(t, k)
				p.open = row.open
				err = asked.call(t.Context(), k.Another(t), key.ID)
				require.Equal(t, []string{row.want}, kit.Conditions(err), "%s: %v", method, err)
				if row.says != nil {
					require.ErrorIs(t, err, row.says, method)
				}
				p.open = own
				err = asked.call(t.Context(), k.Another(t), key.ID)
				require.NotContains(t, kit.Conditions(err), row.want, "%s: %v", method, err)
				require.Equal(t, before, kit.StoredItems(t, k), method)
			}
		})
	}
}
