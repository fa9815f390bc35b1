package tinkkms

import (
	"fmt"
	"strings"

	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/keyhold/kms"
)

// URIPrefix begins the URIs of keys. What follows is a key ID or an alias:
//
//	keyhold://01890a5d-ac96-774b-bcce-b302099a8057
//	keyhold://alias/keysets
//
// There is one spelling of each: no other case, no further slash, no query, no escapes.
const URIPrefix = "keyhold://"

// errURI does not repeat the URI: it may be anything.
var errURI = fmt.Errorf("tinkkms: the URI is not keyhold:// and a key ID or alias: %w", kms.ErrInvalid)

// Client finds keys of one Manager by their URIs. It is made by NewClient.
type Client struct {
	m *kms.Manager
}

var _ registry.KMSClient = (*Client)(nil)

// NewClient returns a Client for the keys of m. Nothing is registered: Tink's registry is one
// for the whole process, and a program may have several Managers. Who has one and wants it
// there calls registry.RegisterKMSClient.
func NewClient(m *kms.Manager) *Client { return &Client{m: m} }

// Supported tells whether this is the URI of a key, as URIPrefix says. It does not look
// whether the key is there.
func (c *Client) Supported(keyURI string) bool {
	_, ok := parseURI(keyURI)
	return ok
}

// GetAEAD returns the key of that URI, a *KeyAEAD. What is no URI of a key is kms.ErrInvalid, and
// so is a Client without a Manager.
// Whether the key is there shows at the first use.
func (c *Client) GetAEAD(keyURI string) (tink.AEAD, error) {
	ref, ok := parseURI(keyURI)
	switch {
	case !ok:
		return nil, errURI
	case c == nil || c.m == nil:
		return nil, errNoManager
	}
	return AEAD(c.m, ref), nil
}

// parseURI returns what a URI names, if that could be a key ID or an alias.
func parseURI(uri string) (ref string, ok bool) {
	ref, ok = strings.CutPrefix(uri, URIPrefix)
	return ref, ok && (isKeyID(ref) || isAlias(ref))
}

func isKeyID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && !strings.Contains("0123456789abcdef", s[i:i+1]) {
			return false
		}
	}
	return true
}

func isAlias(s string) bool {
	name, ok := strings.CutPrefix(s, "alias/")
	if !ok || name == "" || len(s) > kms.MaxAlias {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		return !letter && !('0' <= r && r <= '9') && !strings.ContainsRune("/_-", r)
	})
}
