// Package cleartext is the one place where keys of Tink are in the clear. The names of the two
// packages of Tink that it imports warn of that. Here keysets are the material of keys, which the
// service seals before it stores it; nothing else ever sees them.
package cleartext

import (
	"bytes"

	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"
)

// Write returns a keyset in Tink's binary form.
func Write(h *keyset.Handle) ([]byte, error) {
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewBinaryWriter(&b)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Read returns the keyset that Write wrote, and does not keep b. The text of an error may quote
// from b: callers drop it.
func Read(b []byte) (*keyset.Handle, error) {
	return insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(b)))
}

// Bytes returns a copy of Tink's secret bytes.
func Bytes(b secretdata.Bytes) []byte { return b.Data(insecuresecretdataaccess.Token{}) }

// Secret returns a copy of b as secret bytes of Tink.
func Secret(b []byte) secretdata.Bytes {
	return secretdata.NewBytesFromData(b, insecuresecretdataaccess.Token{})
}
