package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"

	"github.com/keyhold/kms/internal/unfilled"
	"github.com/keyhold/kms/legacy"
)

const (
	idSize  = 36
	ivSize  = 12
	tagSize = 16
)

// Material is a byte that names its form, and the AES key.
const materialFormat = 1

func encodeMaterial(key []byte) []byte {
	return append([]byte{materialFormat}, key...)
}

func isMaterial(b []byte) bool {
	switch len(b) {
	case 1 + 16, 1 + 24, 1 + 32:
		return b[0] == materialFormat
	}
	return false
}

// isKey reports whether material holds a key, and not the bytes of a buffer that nobody filled.
func isKey(material []byte) bool { return isMaterial(material) && !unfilled.Buffer(material[1:]) }

func locate(ciphertext []byte) (id string, ok bool) {
	if len(ciphertext) < idSize+ivSize+tagSize {
		return "", false
	}
	id = string(ciphertext[:idSize])
	return id, legacy.ValidID(id)
}

func open(locator string, material []byte) (legacy.Opener, error) {
	if !legacy.ValidID(locator) || !isMaterial(material) {
		return nil, legacy.ErrMaterial
	}
	block, err := aes.NewCipher(material[1:])
	if err != nil {
		return nil, legacy.ErrMaterial
	}
	// It takes the IV from the front of the ciphertext, and runs with GODEBUG=fips140=only.
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, legacy.ErrUnsupported
	}
	return legacy.OpenerFunc(func(ciphertext []byte, ec map[string]string) ([]byte, error) {
		// The ID is not part of what the tag protects.
		if id, ok := locate(ciphertext); !ok || id != locator {
			return nil, legacy.ErrCiphertext
		}
		plaintext, err := gcm.Open(nil, nil, ciphertext[idSize:], associatedData(ec))
		if err != nil {
			return nil, legacy.ErrCiphertext
		}
		return plaintext, nil
	}), nil
}

// associatedData is what the package comment says it is.
func associatedData(ec map[string]string) []byte {
	if len(ec) == 0 {
		return nil
	}
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(ec)) {
		pairs = append(pairs, k+"="+ec[k])
	}
	sum := sha256.Sum256([]byte(strings.Join(pairs, "&")))
	return sum[:]
}
