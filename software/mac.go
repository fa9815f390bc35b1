package software

import (
	"context"
	"fmt"

	tinkkey "github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	"github.com/tink-crypto/tink-go/v2/mac/hmac"

	"github.com/keyhold/kms/internal/cleartext"
	"github.com/keyhold/kms/internal/unfilled"
	"github.com/keyhold/kms/provider"
)

// A macKey is an opened key that makes MACs, with Tink. The key is behind functions, where no
// printer reaches it.
type macKey struct {
	noCipher
	alg     provider.MacAlgorithm
	compute func(message []byte) ([]byte, error)
	verify  func(mac, message []byte) error
}

var _ provider.MAC = (*macKey)(nil)

var macAlgorithms = map[hmac.HashType]provider.MacAlgorithm{
	hmac.SHA256: provider.MacHMACSHA256, hmac.SHA384: provider.MacHMACSHA384, hmac.SHA512: provider.MacHMACSHA512,
}

func (k *macKey) GenerateMac(_ context.Context, alg provider.MacAlgorithm, message []byte) ([]byte, error) {
	if alg != k.alg {
		return nil, errMacAlgorithm()
	}
	return k.compute(message)
}

func (k *macKey) VerifyMac(_ context.Context, alg provider.MacAlgorithm, message, mac []byte) error {
	if alg != k.alg {
		return errMacAlgorithm()
	}
	if k.verify(mac, message) != nil {
		return provider.ErrSignature
	}
	return nil
}

func errMacAlgorithm() error {
	return fmt.Errorf("%w: the algorithm is not that of the key", provider.ErrUnsupported)
}

func openHMAC(h *keyset.Handle, k tinkkey.Key) (provider.Key, error) {
	primitive, err := mac.New(h)
	if err != nil {
		return nil, fmt.Errorf("software: opening a key: %w", err)
	}
	alg := macAlgorithms[k.Parameters().(*hmac.Parameters).HashType()]
	return &macKey{alg: alg, compute: primitive.ComputeMAC, verify: primitive.VerifyMAC}, nil
}

func typedHMAC(b []byte, params tinkkey.Parameters) (tinkkey.Key, error) {
	if unfilled.Buffer(b) {
		return nil, errUnfilled
	}
	return hmac.NewKey(cleartext.Secret(b), params.(*hmac.Parameters), 0)
}
