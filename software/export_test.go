package software

import (
	"bytes"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"

	"github.com/keyhold/kms/internal/cleartext"
)

// KeysetOfMaterial returns Tink's binary keyset in a material.
func KeysetOfMaterial(t testing.TB, b []byte) []byte {
	t.Helper()
	m, err := parseMaterial(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(m.keyset)
}

// EncodeMaterial makes a well-formed material of any keyset.
func EncodeMaterial(id string, keyset []byte) ([]byte, error) {
	return material{id: id, keyset: keyset}.encode()
}

// ParseMaterial is the parser alone, without a look at the keyset.
func ParseMaterial(b []byte) (id string, keyset []byte, err error) {
	m, err := parseMaterial(b)
	return m.id, m.keyset, err
}

// KeyOfMaterial returns the 32 bytes of a key.
func KeyOfMaterial(t testing.TB, b []byte) []byte {
	t.Helper()
	params, err := xaesParams()
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := readKeyset(KeysetOfMaterial(t, b), sameKind(params))
	if err != nil {
		t.Fatal(err)
	}
	return cleartext.Bytes(key.(*xaesgcm.Key).KeyBytes())
}

// NewRootDerivedBy is a root of a passphrase with a derivation of the test's choice.
func NewRootDerivedBy(derive func(salt []byte) []byte) *Root {
	return newRoot(newPassphraseRoot(derive))
}

// FormatRootFile is the content of a root file with that key.
var FormatRootFile = formatRootFile

// DerivedKeysKept is how many foreign salts a root of a passphrase remembers.
const DerivedKeysKept = derivedKeysKept
