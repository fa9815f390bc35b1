package software

import (
	"bytes"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"

	"github.com/keyhold/kms/internal/xaes"
	"github.com/keyhold/kms/provider"
)

// This is the one file that handles keysets in the clear. The name of Tink's package
// warns of storing them so. Here they are the material of a key, which the service seals
// before it stores it; nothing else ever sees them. Tink's typed keys print their bytes,
// and so none leaves this file.

// newKeyset makes the keyset of one XAES-256-GCM key, without prefix and with a salt of 12
// bytes, in Tink's binary form. Nil has Tink generate the key.
func newKeyset(key []byte) ([]byte, error) {
	params, err := xaesgcm.NewParameters(xaesgcm.VariantNoPrefix, xaes.SaltSize)
	if err != nil {
		return nil, fmt.Errorf("software: parameters of a key: %w", err)
	}
	m := keyset.NewManager()
	var id uint32
	if key == nil {
		id, err = m.AddNewKeyFromParameters(params)
	} else {
		id, err = addKey(m, key, params)
	}
	if err != nil {
		return nil, fmt.Errorf("software: making a key: %w", err)
	}
	if err := m.SetPrimary(id); err != nil {
		return nil, fmt.Errorf("software: generating a keyset: %w", err)
	}
	h, err := m.Handle()
	if err != nil {
		return nil, fmt.Errorf("software: generating a keyset: %w", err)
	}
	var buf bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewBinaryWriter(&buf)); err != nil {
		return nil, fmt.Errorf("software: writing a keyset: %w", err)
	}
	return buf.Bytes(), nil
}

func addKey(m *keyset.Manager, key []byte, params *xaesgcm.Parameters) (uint32, error) {
	k, err := xaesgcm.NewKey(secretdata.NewBytesFromData(key, insecuresecretdataaccess.Token{}), 0, params)
	if err != nil {
		return 0, err
	}
	return m.AddKey(k)
}

// keyOfKeyset returns the 32 bytes of the one key of a keyset that generateKeyset could
// have made. Everything else is provider.ErrNoKey: several keys or none, a key of another
// type, prefix or salt, a key that is disabled or not the primary.
func keyOfKeyset(b []byte) ([]byte, error) {
	// What Tink says of a bad keyset is dropped: it may quote from it.
	h, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(b)))
	if err != nil {
		return nil, fmt.Errorf("%w: the keyset is malformed", provider.ErrNoKey)
	}
	if h.Len() != 1 {
		return nil, fmt.Errorf("%w: the keyset has several keys", provider.ErrNoKey)
	}
	entry, err := h.Primary()
	if err != nil || entry.KeyStatus() != keyset.Enabled {
		return nil, fmt.Errorf("%w: the keyset has no usable key", provider.ErrNoKey)
	}
	k, ok := entry.Key().(*xaesgcm.Key)
	if !ok {
		return nil, fmt.Errorf("%w: the key is not of XAES-256-GCM", provider.ErrNoKey)
	}
	params, ok := k.Parameters().(*xaesgcm.Parameters)
	if !ok || params.Variant() != xaesgcm.VariantNoPrefix || params.SaltSizeInBytes() != xaes.SaltSize {
		return nil, fmt.Errorf("%w: the key has other parameters", provider.ErrNoKey)
	}
	return k.KeyBytes().Data(insecuresecretdataaccess.Token{}), nil
}
