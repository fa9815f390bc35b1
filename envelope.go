package kms

import (
	"context"
	"crypto/rand"
	"sync/atomic"

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
	plaintext  func(wipe bool) []byte
}

// heldKey is what a DataKey holds of its plain key. All copies of the DataKey hold the same.
func heldKey(plaintext []byte) func(wipe bool) []byte {
	var wiped atomic.Bool
	return func(wipe bool) []byte {
		switch {
		case wipe && !wiped.Swap(true):
			clear(plaintext)
			return nil
		case wiped.Load():
			return nil
		}
		return plaintext
	}
}

// Plaintext returns the plain key, or nil if there is none or it was wiped. It is the key itself,
// not a copy. Encrypt with it, then Wipe it; keep only the Ciphertext.
func (k DataKey) Plaintext() []byte {
	if k.plaintext == nil {
		return nil
	}
	return k.plaintext(false)
}

// Wipe overwrites the plain key with zeros. From then on Plaintext is nil, also for copies of this
// DataKey, so that whatever still wants to encrypt with it fails. A slice that Plaintext returned
// before shows the zeros: a cipher must not be made from it any more. Many goroutines may call
// Wipe and Plaintext at once; none may use such a slice while another wipes it. Wipe is a best
// effort: Go gives no guarantee that no other copy is in memory.
func (k DataKey) Wipe() {
	if k.plaintext != nil {
		k.plaintext(true)
	}
}

// GenerateDataKey makes a data key of 32 random bytes under a master key, bound to an
// encryption context. The service keeps nothing of it.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) GenerateDataKey(ctx context.Context, ref string, ec EncryptionContext) (DataKey, error) {
	return m.GenerateDataKeyN(ctx, ref, DataKeySize, ec)
}

// GenerateDataKeyN is GenerateDataKey for a key of n bytes, 1 to 1024.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
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
	return DataKey{c.keyID, int(c.version), ciphertext, heldKey(plaintext)}, nil
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

// Decrypt opens what Encrypt, GenerateDataKey or ReEncrypt made, under the encryption context that
// it was made with; and what another system made, if Config.Legacy knows it. It returns
// ErrNotFound where the key is unknown or deleted, the state's error where the key is not Enabled,
// and ErrCiphertext for all that can be wrong with the ciphertext and its context.
//
// The ciphertext chooses the key: an attacker who replaces a ciphertext can have another key open
// another plaintext. A caller that relies on one key calls DecryptWithKey.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrRetired and ErrUsage.
func (m *Manager) Decrypt(ctx context.Context, ciphertext []byte, ec EncryptionContext) (_ []byte, err error) {
	c := m.begin(OpDecrypt)
	defer c.end(ctx, &err)
	return m.decrypt(ctx, c, nil, ciphertext, ec)
}

// DecryptWithKey is Decrypt with the key that ref names, a key ID or an alias, and with no other.
// It opens what any version of that key made, also in another system, and says which key it was:
// an alias can be given to another key. What another key made is ErrCiphertext, even if that key
// would open it, and nothing is asked or told about the other key. A ref that names nothing is
// ErrNotFound. Like Decrypt it is OpDecrypt for Authorize, which sees the key and the alias that
// ref names.
//
// By what the key is, it is refused with ErrBrownout, ErrDisabled, ErrInstanceExpired,
// ErrNotFound, ErrPendingDeletion, ErrPendingImport, ErrRetired and ErrUsage.
func (m *Manager) DecryptWithKey(ctx context.Context, ref string, ciphertext []byte, ec EncryptionContext) (plaintext []byte, used Used, err error) {
	c := m.begin(OpDecrypt)
	defer c.end(ctx, &err)
	return m.decryptWithKey(ctx, c, ref, ciphertext, ec)
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
		return nil, unsupported(c.op, c.keyID, "the provider adds too much to a plaintext", badProvider)
	}
	return out, nil
}

// decrypt opens a ciphertext with the key that it names, or else with the one of another system
// that made it, and appends the plaintext to dst, whose spare capacity may not overlap it.
func (m *Manager) decrypt(ctx context.Context, c *call, dst, ciphertext []byte, ec EncryptionContext) ([]byte, error) {
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	if err := ec.check(c.op); err != nil {
		return nil, err
	}
	var missing error
	if h, _, ours := wire.Parse(ciphertext); ours {
		e, err := m.decryptor(ctx, c, h.ID, ec)
		if err == nil {
			return m.decryptWith(ctx, c, e, dst, ciphertext, ec)
		}
		if !refusedAs(err, ErrNotFound) {
			return nil, err
		}
		missing = err
	}
	return m.decryptForeign(ctx, c, dst, ciphertext, ec, missing)
}

// decryptor finds the key to decrypt with.
func (m *Manager) decryptor(ctx context.Context, c *call, id keyid.ID, ec EncryptionContext) (*entry, error) {
	if m.ask != nil {
		c.keyID = id.String()
		if err := c.authorize(ctx, Request{KeyID: c.keyID, EncryptionContext: ec}); err != nil {
			return nil, err
		}
	}
	return m.find(ctx, c, id)
}

// decryptWithKey opens a ciphertext with the key that a caller named.
func (m *Manager) decryptWithKey(ctx context.Context, c *call, ref string, ciphertext []byte, ec EncryptionContext) ([]byte, Used, error) {
	if err := ec.check(c.op); err != nil {
		return nil, Used{}, err
	}
	e, err := m.lookup(ctx, c, ref, ec)
	if err != nil {
		return nil, Used{}, err
	}
	plaintext, err := m.decryptWith(ctx, c, e, nil, ciphertext, ec)
	if err != nil {
		return nil, Used{}, err
	}
	return plaintext, c.used(), nil
}

// decryptWith opens a ciphertext with that key or not at all, and appends the plaintext to dst:
// with the version of the key that the ciphertext names, or one that the key had in another
// system, whose ciphertexts can be made to look like one of this service, and to name any key.
func (m *Manager) decryptWith(ctx context.Context, c *call, e *entry, dst, ciphertext []byte, ec EncryptionContext) ([]byte, error) {
	plaintext, err := m.decryptOwn(ctx, c, e, dst, ciphertext, ec)
	if err == nil || len(e.record.Old) == 0 || !refusedAs(err, ErrCiphertext) {
		return plaintext, err
	}
	return m.decryptOld(ctx, c, e, dst, ciphertext, ec)
}

// decryptOwn opens a ciphertext that names the key, with the version that it names.
func (m *Manager) decryptOwn(ctx context.Context, c *call, e *entry, dst, ciphertext []byte, ec EncryptionContext) ([]byte, error) {
	h, payload, ours := wire.Parse(ciphertext)
	if !ours || h.ID != e.header.ID || h.Suite != e.header.Suite {
		return nil, refuse(c.op, c.keyID, ErrCiphertext)
	}
	key, err := m.open(ctx, c, e, h.Version)
	switch {
	case errors.Is(err, errNoVersion):
		return nil, refuse(c.op, c.keyID, ErrCiphertext)
	case err != nil:
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
