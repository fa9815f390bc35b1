package tinkkms_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/core/registry"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/tinkkms"
)

const someID = "01890a5d-ac96-774b-bcce-b302099a8057"

var (
	goodURIs = []string{
		"keyhold://" + someID,
		"keyhold://00000000-0000-0000-0000-000000000000",
		"keyhold://alias/default",
		"keyhold://alias/A/_-9",
		"keyhold://alias//",
		"keyhold://alias/" + strings.Repeat("x", 249),
	}
	badURIs = []string{
		"", "keyhold", "keyhold:", "keyhold:/", "keyhold://", "keyhold:///", someID, "alias/default",
		"keyhold:" + someID, "keyhold:/" + someID, "keyhold:///" + someID, "Keyhold://" + someID, "KEYHOLD://" + someID,
		" keyhold://" + someID, "keyhold://" + someID + " ", "keyhold://" + someID + "/", "keyhold://" + someID + "?v=1", "keyhold://" + someID + "#",
		"keyhold://" + strings.ToUpper(someID), "keyhold://" + strings.ReplaceAll(someID, "-", ""), "keyhold://{" + someID + "}",
		"keyhold://" + someID[:35], "keyhold://" + someID + "0", "keyhold://" + someID[:35] + "g", "keyhold://" + strings.Replace(someID, "-", "0", 1),
		"keyhold://key/" + someID, "keyhold://host/alias/a", "keyhold://alias", "keyhold://alias/", "keyhold://Alias/a", "keyhold:///alias/a",
		"keyhold://alias/a.b", "keyhold://alias/a%2Fb", "keyhold://alias/ä", "keyhold://alias/a\n", "keyhold://alias/a\x00", "keyhold://alias/\xff", "keyhold://alias/a?x",
		"keyhold://alias/" + strings.Repeat("x", 250),
		"keyhold://keyhold://" + someID, "aws-kms://" + someID, "gcp-kms://alias/a", "fake-kms://x",
	}
)

// TestURI: what is a URI of a key, and what is not.
func TestURI(t *testing.T) {
	t.Parallel()
	var c registry.KMSClient = tinkkms.NewClient(kmstest.New(t).Manager)
	for _, uri := range goodURIs {
		require.True(t, c.Supported(uri), uri)
		a, err := c.GetAEAD(uri)
		require.NoError(t, err)
		require.ErrorIs(t, only(a.Decrypt(nil, nil)), kms.ErrNotFound)
	}
	for _, uri := range badURIs {
		require.False(t, c.Supported(uri), uri)
		a, err := c.GetAEAD(uri)
		require.ErrorIs(t, err, kms.ErrInvalid)
		require.Equal(t, "InvalidParameter", kms.Code(err))
		require.Nil(t, a)
	}
}

// TestNothingIsRegistered: Tink's registry knows our URIs only after the program said so.
func TestNothingIsRegistered(t *testing.T) {
	_, err := registry.GetKMSClient("keyhold://" + someID)
	require.Error(t, err)
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	registry.RegisterKMSClient(tinkkms.NewClient(k.Manager))
	t.Cleanup(registry.ClearKMSClients)
	c, err := registry.GetKMSClient("keyhold://" + id)
	require.NoError(t, err)
	a, err := c.GetAEAD("keyhold://" + id)
	require.NoError(t, err)
	require.NoError(t, only(a.Encrypt(nil, nil)))
}

var uriGrammar = regexp.MustCompile(`\Akeyhold://([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|alias/[a-zA-Z0-9/_-]{1,249})\z`)

// FuzzURI: the parser takes what the grammar does and nothing else, and what it takes the
// Manager takes for the name of a key.
func FuzzURI(f *testing.F) {
	for _, uri := range append(goodURIs, badURIs...) {
		f.Add(uri)
	}
	k := kmstest.New(f)
	c := tinkkms.NewClient(k.Manager)
	f.Fuzz(func(t *testing.T, uri string) {
		require.Equal(t, uriGrammar.MatchString(uri), c.Supported(uri))
		a, err := c.GetAEAD(uri)
		ref, ours := strings.CutPrefix(uri, tinkkms.URIPrefix)
		_, described := k.DescribeKey(t.Context(), ref)
		if !c.Supported(uri) {
			require.ErrorIs(t, err, kms.ErrInvalid)
			require.Nil(t, a)
			if ours {
				require.ErrorIs(t, described, kms.ErrInvalid)
			}
			if len(uri) > 20 {
				require.NotContains(t, err.Error(), uri)
			}
			return
		}
		require.NoError(t, err)
		require.NotErrorIs(t, described, kms.ErrInvalid)
	})
}
