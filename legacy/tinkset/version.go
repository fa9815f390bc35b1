package tinkset

import (
	"fmt"
	"slices"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead/aesctrhmac"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcmsiv"
	"github.com/tink-crypto/tink-go/v2/aead/chacha20poly1305"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	"github.com/tink-crypto/tink-go/v2/aead/xchacha20poly1305"
	tinkkey "github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"

	"github.com/keyhold/kms/internal/cleartext"
	"github.com/keyhold/kms/internal/unfilled"
	"github.com/keyhold/kms/legacy"
)

// versionsOf makes a version of every key of a keyset that decrypts. Tink's typed keys print
// their bytes: none is kept, and none is in an error.
func versionsOf(h *keyset.Handle) ([]legacy.Version, error) {
	var versions, primary []legacy.Version
	for i := range h.Len() {
		entry, err := h.Entry(i)
		if err != nil {
			return nil, fmt.Errorf("%w: an entry cannot be read", ErrKeyset)
		}
		if entry.KeyStatus() != keyset.Enabled {
			continue
		}
		if !isAEAD(entry.Key()) {
			return nil, fmt.Errorf("%w: a Tink key that is no AEAD of this process", legacy.ErrUnsupported)
		}
		if unfilledKey(entry.Key()) {
			return nil, fmt.Errorf("%w: the bytes of a key are all the same, as those of a buffer that nobody filled", ErrKeyset)
		}
		material, err := alone(h, entry.KeyID())
		if err != nil {
			return nil, fmt.Errorf("%w: a key cannot be taken out", ErrKeyset)
		}
		v := legacy.NewVersion(locatorOf(entry.Key()), time.Time{}, material)
		clear(material)
		if entry.IsPrimary() {
			primary = append(primary, v)
		} else {
			versions = append(versions, v)
		}
	}
	return append(versions, primary...), nil
}

// alone is the keyset of one key of a keyset.
func alone(h *keyset.Handle, id uint32) ([]byte, error) {
	m := keyset.NewManagerFromHandle(h)
	if err := m.SetPrimary(id); err != nil {
		return nil, err
	}
	for i := range h.Len() {
		other, err := h.Entry(i)
		if err != nil {
			return nil, err
		}
		if other.KeyID() != id {
			if err := m.Delete(other.KeyID()); err != nil {
				return nil, err
			}
		}
	}
	one, err := m.Handle()
	if err != nil {
		return nil, err
	}
	return cleartext.Write(one)
}

// isAEAD takes the kinds of keys whose material is all that it takes to decrypt.
func isAEAD(k tinkkey.Key) bool {
	switch k.(type) {
	case *aesgcm.Key, *aesgcmsiv.Key, *aesctrhmac.Key, *xaesgcm.Key, *chacha20poly1305.Key, *xchacha20poly1305.Key:
		return true
	}
	return false
}

// unfilledKey reports whether a secret of a key was read from a buffer that nobody filled.
func unfilledKey(k tinkkey.Key) bool {
	var secrets []secretdata.Bytes
	switch k := k.(type) {
	case *aesctrhmac.Key:
		secrets = []secretdata.Bytes{k.AESKeyBytes(), k.HMACKeyBytes()}
	case interface{ KeyBytes() secretdata.Bytes }:
		secrets = []secretdata.Bytes{k.KeyBytes()}
	}
	return slices.ContainsFunc(secrets, func(secret secretdata.Bytes) bool {
		b := cleartext.Bytes(secret)
		defer clear(b)
		return unfilled.Buffer(b)
	})
}

func locatorOf(k tinkkey.Key) string {
	if id, prefix := k.IDRequirement(); prefix {
		return fmt.Sprintf("%08x", id)
	}
	return rawLocator
}
