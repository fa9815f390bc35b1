package kms

import (
	"context"
	"crypto/rand"

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
		return invalid(op, "the data key is not 1 to 1024 bytes long")
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
	bound := bind(out[len(dst):], ec)
	if maker, ok := key.Key.(provider.DataKeyGenerator); ok {
		out, err = maker.GenerateDataKey(ctx, out, plaintext, bound.data)
	} else {
		rand.Read(plaintext)
		out, err = key.Encrypt(ctx, out, plaintext, bound.data)
	}
	bound.free()
	if out, err = sealed(c, len(dst), out, err); err != nil {
		clear(plaintext)
	}
	return out, err
}
