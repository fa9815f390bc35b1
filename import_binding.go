package kms

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/provider"
)

// importMaterial puts material that was unwrapped into a record.
func (m *Manager) importMaterial(ctx context.Context, c *call, r *record, material []byte, expiresAt time.Time) error {
	key, identity, ok := specs[r.Spec].material.Read(material)
	if !ok {
		return refuse(c.op, r.id(), ErrMaterial)
	}
	defer clear(key)
	shred, err := m.bind(c, r, identity)
	if err != nil {
		return err
	}
	defer clear(shred)
	if r.facts().state(c.now()) == PendingImport {
		r.dropMaterial() // what is over, and was not swept yet
		if err := m.importVersion(ctx, c, r, key, shred); err != nil {
			return err
		}
	}
	return m.moveExpiry(ctx, c, r, expiresAt.Round(0).UTC())
}

// moveExpiry sets when the material of a key expires. To move it nearer takes the material away, as
// DeleteKeyMaterial does, and so deletion protection refuses it.
func (m *Manager) moveExpiry(ctx context.Context, c *call, r *record, until time.Time) error {
	was := r.was
	if was != nil && was.facts().state(c.now()) != PendingImport && !until.IsZero() && earliest(was.MaterialUntil, until).Equal(until) && !until.Equal(was.MaterialUntil) {
		asked := c.also(OpDeleteKeyMaterial)
		asked.keyID = c.keyID
		ie, err := m.homeOf(ctx, asked, r.keys.ID())
		if err != nil {
			return err
		}
		if found := r.obstacles(asked, ie) & protections; found != 0 {
			return blocked(c.op, r.id(), r.refusals(c, ie, found))
		}
	}
	r.MaterialUntil = until
	return nil
}

func (m *Manager) importVersion(ctx context.Context, c *call, r *record, key, shred []byte) error {
	importer, err := m.importer(c, r)
	if err != nil {
		return err
	}
	working := key // of an asymmetric key its public half is known, and so the key is what it is
	if n := specs[r.Spec].material.Bytes; n > 0 {
		if working, err = workingKey(r.ID, 1, key, shred, n); err != nil {
			return err
		}
		defer clear(working)
	}
	imported, err := importer.Import(ctx, versionID(r, 1), r.Spec, r.purpose().use(), working)
	if err != nil {
		return fromProvider(c.op, r.id(), err)
	}
	return m.keepVersion(c, r, 1, imported)
}

// importer is the provider of a key, if it takes material.
func (m *Manager) importer(c *call, r *record) (provider.Importer, error) {
	importer, ok := m.providers[r.Protection].(provider.Importer)
	if !ok {
		return nil, importsNothing(c.op, r.id(), r.Protection)
	}
	return importer, nil
}

// importsNothing refuses to import into a key of a protection level whose provider takes no material.
func importsNothing(op Op, keyID string, level Protection) error {
	return unsupported(op, keyID, "the provider imports no material",
		"The provider in "+configOf[level]+" does not take keys that were made elsewhere. Create a key of OriginKMS, or of another protection level.")
}

// bind holds what a key is known by to what it was bound to by its first import, which this
// may be, and returns the key's shred secret.
func (m *Manager) bind(c *call, r *record, identity []byte) (shred []byte, err error) {
	if r.Fingerprint == nil {
		shred = randomBytes(32)
		r.Fingerprint = fingerprint(shred, r.ID, r.Spec, identity)
		r.Shred, err = r.keys.Seal(sealing.ShredSecret(r.ID), shred)
		return shred, err
	}
	if shred, err = r.keys.Open(sealing.ShredSecret(r.ID), r.Shred); err != nil {
		return nil, refuseBecause(c.op, r.id(), ErrTampered, "the sealed shred secret", nil)
	}
	if !hmac.Equal(r.Fingerprint, fingerprint(shred, r.ID, r.Spec, identity)) {
		clear(shred)
		return nil, refuse(c.op, r.id(), ErrMaterial)
	}
	return shred, nil
}

// fingerprint tells the same material again. Its key is the shred secret: equal material of
// two keys does not show, no guess can be tried without the instance key, and it stays with
// the key wherever a backup brings that.
func fingerprint(shred []byte, id keyid.ID, spec Spec, identity []byte) []byte {
	input := sealing.Join([]byte("keyhold fingerprint v1"), id[:], []byte(spec), identity)
	defer clear(input) // of a symmetric key it holds the material
	return macOf(shred, input)
}

// macOf returns HMAC-SHA-256, and has the hash forget the message, of which it keeps the last bytes.
func macOf(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	mac := h.Sum(nil)
	h.Reset()
	h.Write(make([]byte, sha256.BlockSize-1))
	h.Write(make([]byte, 1))
	return mac
}

// workingKey is the key of n bytes that an imported symmetric key works with: not the material
// itself, so that the same material in another key opens nothing, and nothing at all without
// the shred secret, which is destroyed with the key.
func workingKey(id keyid.ID, version uint32, material, shred []byte, n int) ([]byte, error) {
	info := sealing.Join([]byte("keyhold imported key v1"), id[:], binary.BigEndian.AppendUint32(nil, version))
	extracted := macOf(shred, material) // HKDF-Extract of RFC 5869: hkdf.Extract leaves the material behind
	defer clear(extracted)
	return hkdf.Expand(sha256.New, extracted, string(info), n)
}
