package tinkset_test

import (
	"bytes"
	"crypto/fips140"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/testkeyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/legacytest"
	"github.com/keyhold/kms/legacy/tinkset"
	"github.com/keyhold/kms/tinkkms"
)

// needsTink is for tests that have Tink decrypt.
func needsTink(t testing.TB) {
	if fips140.Enforced() {
		t.Skip("Tink's own AEADs refuse with GODEBUG=fips140=only")
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	needsTink(t)
	legacytest.Run(t, func(t *testing.T) legacytest.Subject {
		bare, err := tinkset.New()
		require.NoError(t, err)
		return legacytest.Subject{Source: source(t), Bare: bare, Known: known(t),
			Foreign: [][]byte{{1}, make([]byte, 21), bytes.Repeat([]byte{1}, 21)}}
	})
}

// TestRefusedByTink: where Tink refuses its AEADs, Open says so.
func TestRefusedByTink(t *testing.T) {
	t.Parallel()
	s, refused := source(t), 0
	for k, err := range s.Keys(t.Context()) {
		require.NoError(t, err)
		for _, v := range k.Versions {
			o, err := s.Open(v.Locator, v.Material())
			if !fips140.Enforced() {
				require.NoError(t, err)
				continue
			}
			if err != nil {
				require.ErrorIs(t, err, legacy.ErrUnsupported)
				require.Nil(t, o)
				refused++
			}
		}
	}
	require.Equal(t, fips140.Enforced(), refused > 0)
}

// TestContextKeyIsThatOfTinkkms: what moved from one to the other keeps its contexts.
func TestContextKeyIsThatOfTinkkms(t *testing.T) {
	t.Parallel()
	require.Equal(t, tinkkms.ContextKey, tinkset.ContextKey)
}

func list(t testing.TB, s *tinkset.Source) (keys []legacy.Key) {
	for k, err := range s.Keys(t.Context()) {
		require.NoError(t, err)
		keys = append(keys, k)
	}
	return keys
}

// template is a key's kind, with that prefix.
func template(prefix tinkpb.OutputPrefixType) *tinkpb.KeyTemplate {
	kt := aead.AES256GCMKeyTemplate()
	kt.OutputPrefixType = prefix
	return kt
}

func TestVersions(t *testing.T) {
	t.Parallel()
	m := keyset.NewManager()
	var ids []uint32
	for _, prefix := range []tinkpb.OutputPrefixType{tinkpb.OutputPrefixType_TINK, tinkpb.OutputPrefixType_RAW, tinkpb.OutputPrefixType_CRUNCHY,
		tinkpb.OutputPrefixType_TINK, tinkpb.OutputPrefixType_TINK} {
		id, err := m.Add(template(prefix))
		require.NoError(t, err)
		ids = append(ids, id)
	}
	require.NoError(t, m.SetPrimary(ids[1]))
	require.NoError(t, m.Disable(ids[3]))
	h, err := m.Handle()
	require.NoError(t, err)
	before := h.String()
	day := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	s, err := tinkset.New(tinkset.Keyset{Name: "n", Handle: h, CreatedAt: day})
	require.NoError(t, err)
	require.Equal(t, before, h.String(), "the keyset is as it was")
	keys := list(t, s)
	require.Len(t, keys, 1)
	k := keys[0]
	require.Equal(t, legacy.NameID("tink-aead", "n"), k.ID)
	require.Equal(t, "n", k.Description)
	require.Equal(t, day, k.CreatedAt)
	require.False(t, k.Imported)
	require.False(t, k.Rotates)
	var locators []string
	for _, v := range k.Versions {
		locators = append(locators, v.Locator)
	}
	hex8 := func(id uint32) string { return fmt.Sprintf("%08x", id) }
	require.Equal(t, []string{hex8(ids[0]), hex8(ids[2]), hex8(ids[4]), "raw"}, locators, "the primary last, the disabled left out")

	again, err := tinkset.New(tinkset.Keyset{Name: "n", Handle: h, CreatedAt: day})
	require.NoError(t, err)
	for i, v := range list(t, again)[0].Versions {
		require.Equal(t, k.Versions[i].Material(), v.Material(), "material of one keyset is always the same")
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	require.NoError(t, err)
	macs, err := keyset.NewHandle(mac.HMACSHA256Tag256KeyTemplate())
	require.NoError(t, err)
	envelope, err := aead.CreateKMSEnvelopeAEADKeyTemplate("fake-kms://x", aead.AES256GCMKeyTemplate())
	require.NoError(t, err)
	kms, err := keyset.NewHandle(envelope)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		sets []tinkset.Keyset
		want error
	}{
		"no name":       {[]tinkset.Keyset{{Handle: good}}, tinkset.ErrKeyset},
		"no handle":     {[]tinkset.Keyset{{Name: "n"}}, tinkset.ErrKeyset},
		"a zero handle": {[]tinkset.Keyset{{Name: "n", Handle: new(keyset.Handle)}}, tinkset.ErrKeyset},
		"a name twice":  {[]tinkset.Keyset{{Name: "n", Handle: good}, {Name: "n", Handle: good}}, tinkset.ErrKeyset},
		"a long name":   {[]tinkset.Keyset{{Name: strings.Repeat("n", 8193), Handle: good}}, tinkset.ErrKeyset},
		"MAC keys":      {[]tinkset.Keyset{{Name: "n", Handle: macs}}, legacy.ErrUnsupported},
		"keys of a KMS": {[]tinkset.Keyset{{Name: "n", Handle: kms}}, legacy.ErrUnsupported},
	} {
		s, err := tinkset.New(c.sets...)
		require.ErrorIs(t, err, c.want, name)
		require.Nil(t, s)
	}
}

// TestOddMaterial: keysets that New does not make are no material.
func TestOddMaterial(t *testing.T) {
	t.Parallel()
	s, err := tinkset.New()
	require.NoError(t, err)
	material := func(h *keyset.Handle) []byte {
		var b bytes.Buffer
		require.NoError(t, testkeyset.Write(h, keyset.NewBinaryWriter(&b)))
		return b.Bytes()
	}
	m := keyset.NewManager()
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	require.NoError(t, err)
	require.NoError(t, m.SetPrimary(id))
	h, err := m.Handle()
	require.NoError(t, err)
	locator := fmt.Sprintf("%08x", id)
	good := material(h)
	if _, err := s.Open(locator, good); !fips140.Enforced() {
		require.NoError(t, err)
	}
	other, err := m.Add(aead.AES256GCMKeyTemplate())
	require.NoError(t, err)
	two, err := m.Handle()
	require.NoError(t, err)
	require.NoError(t, m.Disable(other))
	withDisabled, err := m.Handle()
	require.NoError(t, err)
	macs, err := keyset.NewHandle(mac.HMACSHA256Tag256KeyTemplate())
	require.NoError(t, err)
	raw, err := keyset.NewHandle(aead.AES256GCMNoPrefixKeyTemplate())
	require.NoError(t, err)
	for name, c := range map[string]struct {
		locator  string
		material []byte
	}{
		"two keys": {locator, material(two)}, "a disabled one beside": {locator, material(withDisabled)},
		"a MAC key":                {fmt.Sprintf("%08x", macs.KeysetInfo().GetPrimaryKeyId()), material(macs)},
		"raw under its ID":         {fmt.Sprintf("%08x", raw.KeysetInfo().GetPrimaryKeyId()), material(raw)},
		"with a prefix, under raw": {"raw", good}, "another locator": {locator + "0", good}, "JSON": {locator, []byte(`{}`)},
	} {
		o, err := s.Open(c.locator, c.material)
		require.ErrorIs(t, err, legacy.ErrMaterial, name)
		require.Nil(t, o)
	}
}

// ofNewKey makes a key of a template, and returns Tink's AEAD, the Source and the Opener of it.
func ofNewKey(t *testing.T, template *tinkpb.KeyTemplate) (tink.AEAD, *tinkset.Source, legacy.Opener) {
	t.Helper()
	h, err := keyset.NewHandle(template)
	require.NoError(t, err)
	a, err := aead.New(h)
	require.NoError(t, err)
	s, err := tinkset.New(tinkset.Keyset{Name: "n", Handle: h})
	require.NoError(t, err)
	v := list(t, s)[0].Versions[0]
	o, err := s.Open(v.Locator, v.Material())
	require.NoError(t, err)
	return a, s, o
}

// TestRawThatLooksPrefixed: one in 128 ciphertexts without prefix begins like one that has it.
// It is opened all the same.
func TestRawThatLooksPrefixed(t *testing.T) {
	t.Parallel()
	needsTink(t)
	a, s, o := ofNewKey(t, aead.AES256GCMNoPrefixKeyTemplate())
	for looks := 0; looks < 10; {
		c, err := a.Encrypt([]byte("x"), nil)
		require.NoError(t, err)
		located := s.Locate(c)
		require.Contains(t, located, "raw")
		if c[0] < 2 {
			looks++
			require.Equal(t, []string{hex.EncodeToString(c[1:5]), "raw"}, located)
			plaintext, err := o.Decrypt(c, nil)
			require.NoError(t, err)
			require.Equal(t, "x", string(plaintext))
		} else {
			require.Len(t, located, 1)
		}
	}
}

// TestContexts: associated data have one spelling.
func TestContexts(t *testing.T) {
	t.Parallel()
	needsTink(t)
	a, _, o := ofNewKey(t, aead.AES256GCMKeyTemplate())
	for _, data := range [][]byte{nil, {}, {0}, {0xab, 0xcd}} {
		c, err := a.Encrypt([]byte("x"), data)
		require.NoError(t, err)
		_, err = o.Decrypt(c, contextOf(data))
		require.NoError(t, err)
		for _, ec := range []map[string]string{
			{tinkset.ContextKey: ""}, {tinkset.ContextKey: "ABCD"}, {tinkset.ContextKey: "abc"}, {tinkset.ContextKey: "zz"}, {"other": "abcd"},
			{tinkset.ContextKey: "abcd", "other": ""}, {tinkset.ContextKey: "", "other": "abcd"}, {tinkset.ContextKey: "abcd\n"}, {"": ""},
		} {
			_, err := o.Decrypt(c, ec)
			require.ErrorIs(t, err, legacy.ErrCiphertext, ec)
		}
	}
}

// FuzzTinksetDecrypt: nothing opens but what was encrypted.
func FuzzTinksetDecrypt(f *testing.F) {
	needsTink(f)
	all := known(f)
	for _, k := range all {
		f.Add(k.Ciphertext, k.EncryptionContext[tinkset.ContextKey])
	}
	s := source(f)
	openers := map[string][]legacy.Opener{}
	for _, k := range list(f, s) {
		for _, v := range k.Versions {
			o, err := s.Open(v.Locator, v.Material())
			require.NoError(f, err)
			openers[v.Locator] = append(openers[v.Locator], o)
		}
	}
	f.Fuzz(func(t *testing.T, c []byte, value string) {
		ec := map[string]string{tinkset.ContextKey: value}
		if value == "" {
			ec = nil
		}
		located := s.Locate(c)
		require.LessOrEqual(t, len(located), 2)
		for locator, some := range openers {
			for _, o := range some {
				plaintext, err := o.Decrypt(c, ec)
				if err != nil {
					require.ErrorIs(t, err, legacy.ErrCiphertext)
					require.Nil(t, plaintext)
					continue
				}
				require.Contains(t, located, locator)
				require.True(t, slices.ContainsFunc(all, func(k legacytest.Known) bool {
					return bytes.Equal(k.Ciphertext, c) && k.EncryptionContext[tinkset.ContextKey] == value && bytes.Equal(k.Plaintext, plaintext)
				}), "something opened that nobody encrypted")
			}
		}
	})
}

// FuzzTinksetMaterial: what opens is of that locator; nothing panics.
func FuzzTinksetMaterial(f *testing.F) {
	s := source(f)
	for _, k := range list(f, s) {
		for _, v := range k.Versions {
			f.Add(v.Locator, v.Material())
		}
	}
	f.Fuzz(func(t *testing.T, locator string, material []byte) {
		o, err := s.Open(locator, material)
		if err != nil {
			require.Contains(t, []error{legacy.ErrMaterial, legacy.ErrUnsupported}, err)
			require.Nil(t, o)
			return
		}
		require.True(t, legacy.ValidLocator(locator))
		_, err = o.Decrypt(make([]byte, 40), nil)
		require.ErrorIs(t, err, legacy.ErrCiphertext)
	})
}
