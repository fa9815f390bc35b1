package kms

import (
	"context"
	"crypto/rand"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/wire"
	"github.com/keyhold/kms/provider"
)

// Sizes of data keys, in bytes.
const (
	DataKeySize    = 32
	MaxDataKeySize = 1024
)

// DataKey is a key for the caller's own encryption: plain, to encrypt with now, and
// encrypted under a master key, to be kept beside the data. The plain key is held so
// that no printer shows it.
type DataKey struct {
	KeyID      string // of the master key
	KeyVersion int
	Ciphertext []byte // what Decrypt turns into the plain key again
	plaintext  func() []byte
}

// Plaintext returns the plain key, or nil if there is none. It is the key itself, not a
// copy. Encrypt with it, then Wipe it; keep only the Ciphertext.
func (k DataKey) Plaintext() []byte {
	if k.plaintext == nil {
		return nil
	}
	return k.plaintext()
}

// Wipe overwrites the plain key with zeros, also for copies of this DataKey. It is a best
// effort: Go gives no guarantee that no other copy is in memory.
func (k DataKey) Wipe() { clear(k.Plaintext()) }

// GenerateDataKey makes a data key of 32 random bytes under a master key, bound to an
// encryption context. The service keeps nothing of it.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) GenerateDataKey(ctx context.Context, ref string, ec EncryptionContext) (DataKey, error) {
	return m.GenerateDataKeyN(ctx, ref, DataKeySize, ec)
}

// GenerateDataKeyN is GenerateDataKey for a key of n bytes, 1 to 1024.
func (m *Manager) GenerateDataKeyN(ctx context.Context, ref string, n int, ec EncryptionContext) (_ DataKey, err error) {
	c := m.begin(OpGenerateDataKey)
	defer c.end(ctx, &err)
	if err := checkDataKey(c.op, n); err != nil {
		return DataKey{}, err
	}
	plaintext := make([]byte, n)
	ciphertext, err := m.makeDataKey(ctx, c, nil, ref, plaintext, ec)
	if err != nil {
		return DataKey{}, err
	}
	return DataKey{c.keyID, int(c.version), ciphertext, func() []byte { return plaintext }}, nil
}

// GenerateDataKeyWithoutPlaintext makes a data key of n bytes, 1 to 1024, and returns it
// encrypted only: for one who hands out keys and never needs to see them.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) GenerateDataKeyWithoutPlaintext(ctx context.Context, ref string, n int, ec EncryptionContext) (_ DataKey, err error) {
	c := m.begin(OpGenerateDataKeyWithoutPlaintext)
	defer c.end(ctx, &err)
	if err := checkDataKey(c.op, n); err != nil {
		return DataKey{}, err
	}
	plaintext := make([]byte, n)
	defer clear(plaintext)
	ciphertext, err := m.makeDataKey(ctx, c, nil, ref, plaintext, ec)
	if err != nil {
		return DataKey{}, err
	}
	return DataKey{KeyID: c.keyID, KeyVersion: int(c.version), Ciphertext: ciphertext}, nil
}

func checkDataKey(op Op, n int) error {
	if n < 1 || n > MaxDataKeySize {
		return invalid(op, "the data key is not 1 to %d bytes long", MaxDataKeySize)
	}
	return nil
}

// makeDataKey fills plaintext with a data key, once its size is found good, and appends what is
// kept of it to dst. What it could not encrypt it wipes.
func (m *Manager) makeDataKey(ctx context.Context, c *call, dst []byte, ref string, plaintext []byte, ec EncryptionContext) ([]byte, error) {
	e, err := m.encryptor(ctx, c, ref, ec)
	if err != nil {
		return nil, err
	}
	key, err := m.sealingKey(ctx, c, e)
	if err != nil {
		return nil, err
	}
	out := e.begin(dst, len(plaintext))
	bound := wire.Bind(out[len(dst):], ec)
	if maker, ok := key.Key.(provider.DataKeyGenerator); ok {
		out, err = maker.GenerateDataKey(ctx, out, plaintext, bound.Data)
	} else {
		rand.Read(plaintext)
		out, err = key.Encrypt(ctx, out, plaintext, bound.Data)
	}
	bound.Free()
	if out, err = sealed(c, len(dst), out, err); err != nil {
		clear(plaintext)
	}
	return out, err
}

// MaxPlaintext is the most that Encrypt takes, in bytes: 6 KiB. What is larger is
// encrypted under a data key.
const MaxPlaintext = 6144

// Encrypt encrypts up to 6 KiB under a key, bound to an encryption context. The
// ciphertext names its key, so that Decrypt needs no other. An alias "alias/default"
// that nobody made yet names a new key: see DefaultKey.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) Encrypt(ctx context.Context, ref string, plaintext []byte, ec EncryptionContext) (_ []byte, err error) {
	c := m.begin(OpEncrypt)
	defer c.end(ctx, &err)
	return m.encrypt(ctx, c, nil, ref, plaintext, ec)
}

// Decrypt opens what Encrypt, GenerateDataKey or ReEncrypt made, under the encryption
// context that it was made with; and what another system made, where Config.Legacy knows it. It returns ErrNotFound where the key is unknown or
// deleted, the state's error where the key is not Enabled, and ErrCiphertext for all
// that can be wrong with the ciphertext and its context.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport and ErrUsage.
func (m *Manager) Decrypt(ctx context.Context, ciphertext []byte, ec EncryptionContext) (_ []byte, err error) {
	c := m.begin(OpDecrypt)
	defer c.end(ctx, &err)
	return m.decrypt(ctx, c, nil, ciphertext, ec)
}

// ReEncrypt decrypts a ciphertext under one encryption context and encrypts what was in
// it under a key and another context; the plaintext does not leave the service. It asks
// and tells twice: ReEncryptFrom the one key, ReEncryptTo the other.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) ReEncrypt(ctx context.Context, ciphertext []byte, from EncryptionContext, ref string, to EncryptionContext) ([]byte, error) {
	if to.check(OpReEncryptTo) != nil {
		return m.reEncryptTo(ctx, ref, nil, to) // which refuses it
	}
	plaintext, _, err := m.reEncryptFrom(ctx, ciphertext, from)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	return m.reEncryptTo(ctx, ref, plaintext, to)
}

func (m *Manager) reEncryptFrom(ctx context.Context, ciphertext []byte, ec EncryptionContext) (plaintext []byte, keyID string, err error) {
	c := m.begin(OpReEncryptFrom)
	defer c.end(ctx, &err)
	plaintext, err = m.decrypt(ctx, c, nil, ciphertext, ec)
	return plaintext, c.keyID, err
}

func (m *Manager) reEncryptTo(ctx context.Context, ref string, plaintext []byte, ec EncryptionContext) (_ []byte, err error) {
	c := m.begin(OpReEncryptTo)
	defer c.end(ctx, &err)
	e, err := m.encryptor(ctx, c, ref, ec)
	if err != nil {
		return nil, err
	}
	return m.seal(ctx, c, e, nil, plaintext, ec)
}

// encrypt encrypts plaintext, once its length is found good, and appends it to dst.
func (m *Manager) encrypt(ctx context.Context, c *call, dst []byte, ref string, plaintext []byte, ec EncryptionContext) ([]byte, error) {
	if len(plaintext) > MaxPlaintext {
		return nil, invalid(c.op, "the plaintext is longer than %d bytes; encrypt it under a data key", MaxPlaintext)
	}
	e, err := m.encryptor(ctx, c, ref, ec)
	if err != nil {
		return nil, err
	}
	return m.seal(ctx, c, e, dst, plaintext, ec)
}

// encryptor finds the key to encrypt with.
func (m *Manager) encryptor(ctx context.Context, c *call, ref string, ec EncryptionContext) (*entry, error) {
	if err := ec.check(c.op); err != nil {
		return nil, err
	}
	e, err := m.lookup(ctx, c, ref, ec)
	if ref == DefaultKey && refusedAs(err, ErrNotFound) {
		return m.makeNamed(ctx, c, DefaultKey, ec, namedKey{description: "The default key."})
	}
	return e, err
}

// seal encrypts plaintext under the primary version of a key and appends it to dst, whose
// spare capacity may not overlap it.
func (m *Manager) seal(ctx context.Context, c *call, e *entry, dst, plaintext []byte, ec EncryptionContext) ([]byte, error) {
	key, err := m.sealingKey(ctx, c, e)
	if err != nil {
		return nil, err
	}
	out := e.begin(dst, len(plaintext))
	bound := wire.Bind(out[len(dst):], ec)
	out, err = key.Encrypt(ctx, out, plaintext, bound.Data)
	bound.Free()
	return sealed(c, len(dst), out, err)
}

// sealingKey returns the primary version of the key, for one encryption, which is taken from what
// the key may do.
func (m *Manager) sealingKey(ctx context.Context, c *call, e *entry) (*openKey, error) {
	key, err := m.openPrimary(ctx, c, e)
	if err != nil {
		return nil, err
	}
	return key, m.spend(ctx, c, e)
}

// begin appends the header of a ciphertext of size bytes to dst, with room for all of it.
func (e *entry) begin(dst []byte, size int) []byte {
	if room := wire.HeaderSize + wire.Overhead + size; cap(dst)-len(dst) < room {
		dst = append(make([]byte, 0, len(dst)+room), dst...)
	}
	return e.header.Append(dst)
}

// sealed is a ciphertext, behind n bytes of something else, as the provider answered it.
func sealed(c *call, n int, out []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, fromProvider(c.op, c.keyID, err)
	}
	if len(out)-n > MaxCiphertext { // Decrypt would refuse it
		return nil, unsupported(c.op, c.keyID, "the provider adds too much to a plaintext",
			badProvider)
	}
	return out, nil
}

// decrypt opens a ciphertext with the key version that it names and appends the plaintext to
// dst, whose spare capacity may not overlap it.
func (m *Manager) decrypt(ctx context.Context, c *call, dst, ciphertext []byte, ec EncryptionContext) ([]byte, error) {
	if err := ec.check(c.op); err != nil {
		return nil, err
	}
	h, payload, ours := wire.Parse(ciphertext)
	var e *entry
	var err error
	if ours {
		e, err = m.decryptor(ctx, c, h.ID, ec)
	}
	if !ours || refusedAs(err, ErrNotFound) {
		return m.decryptLegacy(ctx, c, dst, ciphertext, ec, err)
	}
	if err != nil {
		return nil, err
	}
	if h.Suite != e.header.Suite {
		return nil, refuse(c.op, c.keyID, ErrCiphertext)
	}
	key, err := m.open(ctx, c, e, h.Version)
	if err != nil {
		if errors.Is(err, errNoVersion) {
			return nil, refuse(c.op, c.keyID, ErrCiphertext)
		}
		return nil, err
	}
	bound := wire.Bind(ciphertext[:wire.HeaderSize], ec)
	plaintext, err := key.Decrypt(ctx, dst, payload, bound.Data)
	bound.Free()
	if err != nil {
		return nil, fromProvider(c.op, c.keyID, err)
	}
	return plaintext, nil
}

// decryptor finds the key to decrypt with.
func (m *Manager) decryptor(ctx context.Context, c *call, id keyid.ID, ec EncryptionContext) (*entry, error) {
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	if m.ask != nil {
		c.keyID = id.String()
		if err := c.authorize(ctx, Request{KeyID: c.keyID, EncryptionContext: ec}); err != nil {
			return nil, err
		}
	}
	return m.find(ctx, c, id)
}
