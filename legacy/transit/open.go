package transit

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/keyhold/kms/legacy"
)

// Material is a byte that names the type of the key, and the key. The numbers are in key stores:
// they are added to, never changed.
const (
	formAES128 byte = iota + 1
	formAES256
	formChaCha20
	formXChaCha20
)

// unseal opens a nonce, ciphertext and tag.
type unseal func(sealed, associatedData []byte) ([]byte, error)

// forms are what is known of each type.
var forms = map[byte]struct {
	name string
	size int // of a key
	open func(key []byte) (unseal, error)
}{
	formAES128:    {"aes128-gcm96", 16, openGCM},
	formAES256:    {"aes256-gcm96", 32, openGCM},
	formChaCha20:  {"chacha20-poly1305", chacha20poly1305.KeySize, openChaCha(chacha20poly1305.New)},
	formXChaCha20: {"xchacha20-poly1305", chacha20poly1305.KeySize, openChaCha(chacha20poly1305.NewX)},
}

// minSealed is the shortest nonce and a tag; it is longer than any nonce.
const minSealed = 12 + 16

func formOf(name string) (byte, bool) {
	for form, f := range forms {
		if f.name == name {
			return form, true
		}
	}
	return 0, false
}

func encodeMaterial(form byte, key []byte) []byte {
	return append([]byte{form}, key...)
}

// openGCM uses what takes the nonce from the front, and runs with GODEBUG=fips140=only.
func openGCM(key []byte) (unseal, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return func(sealed, associatedData []byte) ([]byte, error) {
		return gcm.Open(nil, nil, sealed, associatedData)
	}, nil
}

func openChaCha(make func([]byte) (cipher.AEAD, error)) func([]byte) (unseal, error) {
	return func(key []byte) (unseal, error) {
		aead, err := make(key)
		if err != nil {
			return nil, err
		}
		return func(sealed, associatedData []byte) ([]byte, error) {
			n := aead.NonceSize()
			return aead.Open(nil, sealed[:n], sealed[n:], associatedData)
		}, nil
	}
}

func open(locator string, material []byte) (legacy.Opener, error) {
	number, ok := strings.CutPrefix(locator, "v")
	if !ok || !isVersion(number) || len(material) < 1 {
		return nil, legacy.ErrMaterial
	}
	form, ok := forms[material[0]]
	if !ok || len(material) != 1+form.size {
		return nil, legacy.ErrMaterial
	}
	unseal, err := form.open(material[1:])
	if err != nil {
		return nil, legacy.ErrUnsupported
	}
	return legacy.OpenerFunc(func(ciphertext []byte, ec map[string]string) ([]byte, error) {
		named, sealed, ok := split(ciphertext)
		data, sound := associatedData(ec)
		// The version is not part of what the tag protects.
		if !ok || !sound || named != locator {
			return nil, legacy.ErrCiphertext
		}
		plaintext, err := unseal(sealed, data)
		if err != nil {
			return nil, legacy.ErrCiphertext
		}
		return plaintext, nil
	}), nil
}

// associatedData is the value of the one pair. An empty one would be another spelling of none.
func associatedData(ec map[string]string) ([]byte, bool) {
	data := ec[ContextKey]
	return []byte(data), len(ec) == 0 || len(ec) == 1 && data != ""
}

// split takes a ciphertext apart: its locator, and what was in base64.
func split(ciphertext []byte) (locator string, sealed []byte, ok bool) {
	rest, ok := bytes.CutPrefix(ciphertext, []byte("vault:v"))
	if !ok {
		return "", nil, false
	}
	number, text, ok := bytes.Cut(rest, []byte(":"))
	// The decoder skips line ends.
	if !ok || !isVersion(string(number)) || bytes.ContainsAny(text, "\r\n") {
		return "", nil, false
	}
	sealed, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	if err != nil || len(sealed) < minSealed {
		return "", nil, false
	}
	return "v" + string(number), sealed, true
}

// isVersion takes 1 to 999999999, in the one spelling of each.
func isVersion(s string) bool {
	if s == "" || len(s) > 9 || s[0] == '0' {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}
