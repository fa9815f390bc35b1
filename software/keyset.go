package software

import (
	"fmt"

	tinkkey "github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/keyhold/kms/internal/cleartext"
	"github.com/keyhold/kms/provider"
)

// The keysets here are in the clear: they are the material of a key, which the service seals
// before it stores it. Tink's typed keys print their bytes: none is kept, and none is in an
// error.

// newKeyset has Tink generate a key and makes the keyset of it alone, in Tink's binary form.
func newKeyset(params tinkkey.Parameters) ([]byte, error) {
	m := keyset.NewManager()
	id, err := m.AddNewKeyFromParameters(params)
	if err != nil {
		return nil, fmt.Errorf("software: making a key: %w", err)
	}
	return writeKeyset(m, id)
}

// keysetOf makes the keyset of one key.
func keysetOf(k tinkkey.Key) ([]byte, error) {
	m := keyset.NewManager()
	id, err := m.AddKey(k)
	if err != nil {
		return nil, fmt.Errorf("software: making a key: %w", err)
	}
	return writeKeyset(m, id)
}

func writeKeyset(m *keyset.Manager, id uint32) ([]byte, error) {
	if err := m.SetPrimary(id); err != nil {
		return nil, fmt.Errorf("software: generating a keyset: %w", err)
	}
	h, err := m.Handle()
	if err != nil {
		return nil, fmt.Errorf("software: generating a keyset: %w", err)
	}
	b, err := cleartext.Write(h)
	if err != nil {
		return nil, fmt.Errorf("software: writing a keyset: %w", err)
	}
	return b, nil
}

// readKeyset returns the one key of a keyset that newKeyset or keysetOf could have made, and
// the keyset. Everything else is provider.ErrNoKey: several keys or none, a key that is
// disabled or not the primary, a key of another type or other parameters than wanted.
func readKeyset(b []byte, wanted func(tinkkey.Parameters) bool) (*keyset.Handle, tinkkey.Key, error) {
	// What Tink says of a bad keyset is dropped: it may quote from it.
	h, err := cleartext.Read(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the keyset is malformed", provider.ErrNoKey)
	}
	if h.Len() != 1 {
		return nil, nil, fmt.Errorf("%w: the keyset has several keys", provider.ErrNoKey)
	}
	entry, err := h.Primary()
	if err != nil || entry.KeyStatus() != keyset.Enabled {
		return nil, nil, fmt.Errorf("%w: the keyset has no usable key", provider.ErrNoKey)
	}
	if !wanted(entry.Key().Parameters()) {
		return nil, nil, fmt.Errorf("%w: the key is of another kind", provider.ErrNoKey)
	}
	return h, entry.Key(), nil
}
