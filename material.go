package kms

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"maps"
	"slices"
	"time"

	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/internal/wrapping"
)

// WrappingSpec is the RSA key under which material is wrapped on its way in.
type WrappingSpec string

// The wrapping keys.
const (
	WrapRSA2048 WrappingSpec = "RSA_2048"
	WrapRSA3072 WrappingSpec = "RSA_3072"
	WrapRSA4096 WrappingSpec = "RSA_4096"
)

var wrappingBits = map[WrappingSpec]int{WrapRSA2048: 2048, WrapRSA3072: 3072, WrapRSA4096: 4096}

// ImportTokenLife is how long parameters for import are good.
const ImportTokenLife = 24 * time.Hour

// ImportOptions choose how material is to be wrapped. The zero value of each field is its
// default.
type ImportOptions struct {
	Spec      WrappingSpec      // WrapRSA2048
	Algorithm WrappingAlgorithm // WrapOAEP
}

// ImportParameters are what the owner of material needs to wrap it, and what comes back
// with it.
type ImportParameters struct {
	KeyID     string
	Spec      WrappingSpec
	Algorithm WrappingAlgorithm
	PublicKey []byte    // of the wrapping key: SubjectPublicKeyInfo, DER
	Token     []byte    // opaque; given back to ImportKeyMaterial
	ExpiresAt time.Time // until then the parameters are good, as often as wanted
}

// maxImport bounds a token and wrapped material, in bytes.
const maxImport = 8 << 10

// GetParametersForImport makes a wrapping key for the material of a key of OriginExternal,
// in whatever state that is. A nil opts takes every default. The parameters are good for
// 24 hours and for that key alone.
//
// By what the key is, it is refused with ErrInstanceExpired, ErrNotFound, ErrOrigin and
// ErrReadOnly.
func (m *Manager) GetParametersForImport(ctx context.Context, ref string, opts *ImportOptions) (_ ImportParameters, err error) {
	c := m.begin(OpGetParametersForImport)
	defer c.end(ctx, &err)
	p := ImportParameters{Spec: WrapRSA2048, Algorithm: WrapOAEP, ExpiresAt: c.now().Add(ImportTokenLife)}
	if opts != nil && opts.Spec != "" {
		p.Spec = opts.Spec
	}
	if opts != nil && opts.Algorithm != "" {
		p.Algorithm = opts.Algorithm
	}
	bits := wrappingBits[p.Spec]
	switch {
	case bits == 0:
		return ImportParameters{}, invalid(c.op, "ImportOptions.Spec is none of %s", listed(slices.Collect(maps.Keys(wrappingBits))))
	case schemes[p.Algorithm] == 0:
		return ImportParameters{}, badWrapping(c.op, "ImportOptions.Algorithm")
	}
	e, err := m.lookup(ctx, c, ref, nil)
	if err != nil {
		return ImportParameters{}, err
	}
	p.KeyID = e.record.id()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return ImportParameters{}, unavailable(c.op, p.KeyID, "generating the wrapping key", err)
	}
	if p.PublicKey, err = x509.MarshalPKIXPublicKey(&private.PublicKey); err != nil {
		return ImportParameters{}, unavailable(c.op, p.KeyID, "encoding the wrapping key", err)
	}
	if p.Token, err = e.record.sealToken(p, private); err != nil {
		return ImportParameters{}, unavailable(c.op, p.KeyID, "encoding the wrapping key", err)
	}
	return p, nil
}

// ImportKeyMaterial gives a key of OriginExternal its material, wrapped as the parameters
// say: 32 bytes for AES_256, 24 for AES_192, 16 for AES_128; 32, 48 or 64 for HMAC; for RSA, EC and ED25519 the private key as
// PKCS #8 in DER, which takes WrapAESKeyWrap where it is longer than OAEP can wrap. A key that
// was PendingImport is Enabled, or Disabled if DisableKey was called before its material went: only
// EnableKey takes that back. One that had its material keeps its state and takes the new expiry.
// The material expires at expiresAt, which is in the future; the zero time is never.
//
// Beware of private keys: such a key works with the material itself, for its public half is
// known. When it is deleted here, the owner's copy GOES ON SIGNING AND DECRYPTING. A key of
// AES or HMAC does not: it works with a key derived from the material and a secret that is
// destroyed with it, so the owner's copy opens nothing afterwards.
//
// The first import binds the key to its material for ever: any other is refused with
// ErrMaterial, as is what cannot be unwrapped, and material whose bytes are all the same. A token that is of another key, was changed
// or is too old is refused with ErrImportToken.
//
// By what the key is, it is refused with ErrInstanceExpired, ErrNotFound, ErrOrigin,
// ErrReadOnly and ErrState.
func (m *Manager) ImportKeyMaterial(ctx context.Context, ref string, wrapped, token []byte, expiresAt time.Time) (Key, error) {
	var bad error
	switch now := m.now(); {
	case len(token) > maxImport:
		bad = refuse(OpImportKeyMaterial, "", ErrImportToken)
	case len(wrapped) > maxImport:
		bad = refuse(OpImportKeyMaterial, "", ErrMaterial)
	case !expiresAt.IsZero() && !expiresAt.After(now):
		bad = invalid(OpImportKeyMaterial, "the material's expiry is not in the future")
	}
	return m.update(ctx, OpImportKeyMaterial, ref, bad, func(c *call, r *record) error {
		opened, wipe, err := r.openToken(c, token)
		if err != nil {
			return err
		}
		defer wipe()
		material, ok := wrapping.Unwrap(opened.Scheme, opened.Private, wrapped)
		defer clear(material)
		if !ok {
			return refuse(c.op, r.id(), ErrMaterial)
		}
		return m.importMaterial(ctx, c, r, material, expiresAt)
	})
}

// DeleteMaterialOptions may be nil. The zero value of each field is its default.
type DeleteMaterialOptions struct {
	Force  bool   // in spite of deletion protection, of the key and of its instance
	Reason string // up to 8192 characters; needed with Force, else ErrInvalid. Event shows it
}

// DeleteKeyMaterial takes the material from a key of OriginExternal and leaves the key: it
// is PendingImport, and what it encrypted is unreadable until the same material is imported
// again. A key PendingDeletion stays so; one without material stays as it is. A nil opts takes
// every default.
//
// While deletion protection is on, of the key or of its instance, that is ErrProtected, unless it
// is forced. Dependents do not stop it: the owner of material may withdraw it at any time.
//
// By what the key is, it is refused with ErrInstanceExpired, ErrNotFound, ErrOrigin,
// ErrProtected and ErrReadOnly.
func (m *Manager) DeleteKeyMaterial(ctx context.Context, ref string, opts *DeleteMaterialOptions) (Key, error) {
	var o DeleteMaterialOptions
	if opts != nil {
		o = *opts
	}
	c := m.begin(OpDeleteKeyMaterial)
	bad := checkForce(c.op, o.Force, o.Reason)
	if bad == nil {
		c.forced, c.reason = o.Force, o.Reason
	}
	key, err := m.updateIn(ctx, c, ref, bad, func(_ *call, r *record) error {
		r.dropMaterial()
		return nil
	})
	if err == nil {
		m.sweep(ctx, key.ID)
	}
	return key, err
}

// sweep destroys what was doomed, at once. What it cannot do now Maintain does; Observe is told.
func (m *Manager) sweep(ctx context.Context, keyID string) {
	c := m.begin(OpDeleteKeyMaterial)
	id, _ := keyid.Parse(keyID)
	e, err := m.load(ctx, c, id)
	if err == nil && len(e.record.Doomed) > 0 {
		err = m.destroy(ctx, c, e.record.clone(), e.version, &Report{})
	}
	if err != nil && m.tell != nil {
		m.tell(ctx, Event{Time: c.now(), Op: c.op, KeyID: keyID, Step: StepExpired, Err: ended(ctx, err)})
	}
}

func (r *record) sealToken(p ImportParameters, private crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	body := wrapping.Token{Key: r.ID, Scheme: schemes[p.Algorithm], ExpiresAt: p.ExpiresAt, Private: der}.Encode()
	defer clear(body)
	sealed, err := r.keys.Seal(sealing.ImportToken(r.ID), body)
	return append([]byte{1}, sealed...), err
}

// openToken opens a token that was made for the key of r and is still good. The token holds a
// private key until it is wiped.
func (r *record) openToken(c *call, token []byte) (t wrapping.Token, wipe func(), err error) {
	if len(token) < 1 || token[0] != 1 {
		return t, nil, refuse(c.op, r.id(), ErrImportToken)
	}
	body, err := r.keys.Open(sealing.ImportToken(r.ID), token[1:])
	if err != nil {
		return t, nil, refuse(c.op, r.id(), ErrImportToken)
	}
	t, ok := wrapping.DecodeToken(body)
	switch {
	case !ok || t.Key != r.ID:
		err = refuse(c.op, r.id(), ErrImportToken)
	case !c.now().Before(t.ExpiresAt):
		err = &expiredToken{refusal{op: c.op, keyID: r.id(), cond: ErrImportToken, text: "it is too old"}}
	default:
		return t, func() { clear(body) }, nil
	}
	clear(body)
	return wrapping.Token{}, nil, err
}

// expiredToken is ErrImportToken with the code for tokens that are too old.
type expiredToken struct{ refusal }

func (*expiredToken) code() string { return "ExpiredImportToken" }
