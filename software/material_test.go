package software_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

// TestForeignKeysets: well-formed material around keysets that Generate does not make.
func TestForeignKeysets(t *testing.T) {
	t.Parallel()
	sound := xaesKeyset(t, randomBytes(t, 32), xaesgcm.VariantNoPrefix, 12)
	edited := func(edit func(ks *tinkpb.Keyset)) []byte {
		h, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(sound)))
		require.NoError(t, err)
		ks := insecurecleartextkeyset.KeysetMaterial(h)
		edit(ks)
		var buf bytes.Buffer
		require.NoError(t, keyset.NewBinaryWriter(&buf).Write(ks))
		return buf.Bytes()
	}
	require.NoError(t, openKeyset(t, sound))
	require.NoError(t, openKeyset(t, edited(func(*tinkpb.Keyset) {})))

	for name, ks := range map[string][]byte{
		"empty":            {},
		"noise":            randomBytes(t, 100),
		"cut":              sound[:len(sound)-1],
		"a byte more":      append(bytes.Clone(sound), 0),
		"twice":            append(bytes.Clone(sound), sound...),
		"a salt of 8":      xaesKeyset(t, randomBytes(t, 32), xaesgcm.VariantNoPrefix, 8),
		"with a prefix":    xaesKeyset(t, randomBytes(t, 32), xaesgcm.VariantTink, 12),
		"AES-GCM":          templated(t, aead.AES256GCMNoPrefixKeyTemplate()),
		"XChaCha20":        templated(t, aead.XChaCha20Poly1305KeyTemplate()),
		"HMAC":             templated(t, mac.HMACSHA256Tag256KeyTemplate()),
		"no key":           edited(func(ks *tinkpb.Keyset) { ks.Key = nil }),
		"disabled":         edited(func(ks *tinkpb.Keyset) { ks.Key[0].Status = tinkpb.KeyStatusType_DISABLED }),
		"destroyed":        edited(func(ks *tinkpb.Keyset) { ks.Key[0].Status = tinkpb.KeyStatusType_DESTROYED }),
		"unknown status":   edited(func(ks *tinkpb.Keyset) { ks.Key[0].Status = tinkpb.KeyStatusType_UNKNOWN_STATUS }),
		"absent primary":   edited(func(ks *tinkpb.Keyset) { ks.PrimaryKeyId++ }),
		"unknown prefix":   edited(func(ks *tinkpb.Keyset) { ks.Key[0].OutputPrefixType = tinkpb.OutputPrefixType_UNKNOWN_PREFIX }),
		"without key data": edited(func(ks *tinkpb.Keyset) { ks.Key[0].KeyData = nil }),
		"duplicate ids":    edited(func(ks *tinkpb.Keyset) { ks.Key = append(ks.Key, ks.Key[0]) }),
		"a public key":     edited(func(ks *tinkpb.Keyset) { ks.Key[0].KeyData.KeyMaterialType = tinkpb.KeyData_ASYMMETRIC_PUBLIC }),
		"a short key":      edited(func(ks *tinkpb.Keyset) { v := ks.Key[0].KeyData.Value; ks.Key[0].KeyData.Value = v[:len(v)-1] }),
		"an unknown type":  edited(func(ks *tinkpb.Keyset) { ks.Key[0].KeyData.TypeUrl += "2" }),
		"several keys": edited(func(ks *tinkpb.Keyset) {
			h, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(sound)))
			require.NoError(t, err)
			second := insecurecleartextkeyset.KeysetMaterial(h).Key[0]
			second.KeyId++
			ks.Key = append(ks.Key, second)
		}),
	} {
		require.ErrorIs(t, openKeyset(t, ks), provider.ErrNoKey, name)
	}
}

// openKeyset opens material that is well-formed but for what its keyset may be.
func openKeyset(t *testing.T, ks []byte) error {
	t.Helper()
	m, err := software.EncodeMaterial("id", ks)
	require.NoError(t, err)
	k, err := software.New().Open(t.Context(), "id", provider.AES256, m)
	require.Equal(t, err == nil, k != nil)
	return err
}

// templated is the binary keyset of a new key of that template.
func templated(t *testing.T, template *tinkpb.KeyTemplate) []byte {
	t.Helper()
	h, err := keyset.NewHandle(template)
	require.NoError(t, err)
	return binaryOf(t, h)
}

func TestMaterialLimits(t *testing.T) {
	t.Parallel()
	p := software.New()
	for _, id := range []string{"", strings.Repeat("x", 129), strings.Repeat("x", 300)} {
		m, err := p.Generate(t.Context(), id, provider.AES256, provider.UseEncrypt)
		require.Error(t, err)
		require.Nil(t, m)
	}
	// As long as it may be, and a byte longer: both have a keyset that is not one.
	const overhead = 2 + 2 + 32
	m, err := software.EncodeMaterial("id", make([]byte, 64<<10-overhead))
	require.NoError(t, err)
	_, _, err = software.ParseMaterial(m)
	require.NoError(t, err)
	m, err = software.EncodeMaterial("id", make([]byte, 64<<10-overhead+1))
	require.NoError(t, err)
	_, _, err = software.ParseMaterial(m)
	require.ErrorIs(t, err, provider.ErrNoKey)
}

// FuzzMaterial: the parser accepts only what the encoder writes, and no bytes make
// opening panic, also not behind a good hash.
func FuzzMaterial(f *testing.F) {
	p := software.New()
	f.Fuzz(func(t *testing.T, b []byte, id string, ks []byte) {
		if parsedID, parsedKeyset, err := software.ParseMaterial(b); err == nil {
			again, err := software.EncodeMaterial(parsedID, parsedKeyset)
			require.NoError(t, err)
			require.True(t, bytes.Equal(b, again))
		} else {
			require.ErrorIs(t, err, provider.ErrNoKey)
		}
		if k, err := p.Open(t.Context(), id, provider.AES256, b); err != nil {
			require.ErrorIs(t, err, provider.ErrNoKey)
			require.Nil(t, k)
		}

		m, err := software.EncodeMaterial(id, ks)
		if err != nil {
			require.True(t, id == "" || len(id) > 128)
			return
		}
		if len(m) <= 64<<10 {
			parsedID, parsedKeyset, err := software.ParseMaterial(m)
			require.NoError(t, err)
			require.Equal(t, id, parsedID)
			require.True(t, bytes.Equal(ks, parsedKeyset))
		}
		if k, err := p.Open(t.Context(), id, provider.AES256, m); err != nil {
			require.ErrorIs(t, err, provider.ErrNoKey)
			require.Nil(t, k)
		}
	})
}
