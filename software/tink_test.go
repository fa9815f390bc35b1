package software_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/keyhold/kms/internal/tinkkeys"
	"github.com/keyhold/kms/software"
)

// Every Root is what Tink calls an AEAD.
var _ tink.AEAD = (*software.Root)(nil)

// tinkAEAD is the AEAD that Tink makes of a binary keyset.
func tinkAEAD(t testing.TB, binary []byte) tink.AEAD {
	t.Helper()
	h, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(binary)))
	require.NoError(t, err)
	a, err := aead.New(h)
	require.NoError(t, err)
	return a
}

// xaesKeyset is a binary keyset of one XAES-256-GCM key with those bytes, made by Tink.
func xaesKeyset(t testing.TB, raw []byte, variant xaesgcm.Variant, saltSize int) []byte {
	t.Helper()
	return binaryOf(t, tinkkeys.Handle(t, tinkkeys.XAES(t, raw, variant, saltSize)))
}

// binaryOf is a keyset in Tink's binary form.
func binaryOf(t testing.TB, h *keyset.Handle) []byte {
	t.Helper()
	var buf bytes.Buffer
	require.NoError(t, insecurecleartextkeyset.Write(h, keyset.NewBinaryWriter(&buf)))
	return buf.Bytes()
}
