package tinkset

import (
	"encoding/hex"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/keyhold/kms/internal/cleartext"
	"github.com/keyhold/kms/legacy"
)

const (
	rawLocator = "raw"
	prefixSize = 5  // a byte and the key ID, big-endian
	minSize    = 22 // AES-CTR-HMAC with the shortest IV and tag
)

// The first byte of a prefix: of TINK, and of CRUNCHY and LEGACY.
const (
	prefixTink    = 1
	prefixCrunchy = 0
)

func locate(ciphertext []byte) (locators []string) {
	if len(ciphertext) < minSize {
		return nil
	}
	if len(ciphertext) >= prefixSize+minSize && (ciphertext[0] == prefixTink || ciphertext[0] == prefixCrunchy) {
		locators = append(locators, hex.EncodeToString(ciphertext[1:prefixSize]))
	}
	return append(locators, rawLocator)
}

func open(locator string, material []byte) (legacy.Opener, error) {
	// What Tink says of a bad keyset is dropped: it may quote from it. Whether the bytes are those
	// that this version of Tink would write is not looked at: they may be of an older one.
	h, err := cleartext.Read(material)
	if err != nil || h.Len() != 1 {
		return nil, legacy.ErrMaterial
	}
	entry, err := h.Primary()
	if err != nil || entry.KeyStatus() != keyset.Enabled || !isAEAD(entry.Key()) || locatorOf(entry.Key()) != locator {
		return nil, legacy.ErrMaterial
	}
	primitive, err := aead.New(h)
	if err != nil {
		return nil, legacy.ErrUnsupported
	}
	return legacy.OpenerFunc(func(ciphertext []byte, ec map[string]string) ([]byte, error) {
		data, ok := associatedData(ec)
		if !ok {
			return nil, legacy.ErrCiphertext
		}
		plaintext, err := primitive.Decrypt(ciphertext, data)
		if err != nil {
			return nil, legacy.ErrCiphertext
		}
		return plaintext, nil
	}), nil
}

// associatedData is the value of the one pair, out of hex. Each has one spelling.
func associatedData(ec map[string]string) ([]byte, bool) {
	if len(ec) == 0 {
		return nil, true
	}
	value := ec[ContextKey]
	data, err := hex.DecodeString(value)
	return data, err == nil && len(ec) == 1 && value != "" && hex.EncodeToString(data) == value
}
