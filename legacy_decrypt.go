package kms

import (
	"context"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/legacy"
)

// decryptLegacy opens a ciphertext of another system and appends the plaintext to dst. The ciphertext
// may look like one of this service and name a key that is not here: missing is the refusal of that
// key, and remains the answer if no other key opens it. Nil: the ciphertext names no key.
func (m *Manager) decryptLegacy(ctx context.Context, c *call, dst, ciphertext []byte, ec EncryptionContext, missing error) ([]byte, error) {
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	named := c.keyID
	plaintext, err := m.decryptOld(ctx, c, m.legacy.locate(ciphertext), ciphertext, ec)
	switch {
	case err == nil:
		return moved(dst, plaintext), nil
	case missing != nil:
		c.keyID = named
		return nil, missing
	}
	return nil, err
}

// moved appends a plaintext to dst and wipes it, unless it can be had as it is.
func moved(dst, plaintext []byte) []byte {
	if dst == nil {
		return plaintext
	}
	defer clear(plaintext)
	return append(dst, plaintext...)
}

// decryptOld opens a ciphertext of another system with the key version that it may be of. Where
// several may be, each is tried; it authenticates under one alone. Where none opens it, the
// answer is that of a key that was refused, for it may be that one's.
func (m *Manager) decryptOld(ctx context.Context, c *call, at []oldLocator, ciphertext []byte, ec EncryptionContext) ([]byte, error) {
	ids, err := m.makers(ctx, c, at)
	if err != nil {
		return nil, err
	}
	var refused error
	for _, id := range ids {
		tried := *c
		tried.keyID = id.String()
		plaintext, err := m.decryptOldWith(ctx, &tried, id, at, ciphertext, ec)
		if err == nil {
			*c = tried
			return plaintext, nil
		}
		if refused == nil && !refusedAs(err, ErrCiphertext) {
			*c, refused = tried, err
		}
	}
	if refused != nil {
		return nil, refused
	}
	c.keyID = ""
	if len(ids) == 1 {
		c.keyID = ids[0].String()
	}
	return nil, refuse(c.op, c.keyID, ErrCiphertext)
}

func (m *Manager) decryptOldWith(ctx context.Context, c *call, id keyid.ID, at []oldLocator, ciphertext []byte, ec EncryptionContext) ([]byte, error) {
	if err := c.authorize(ctx, Request{KeyID: c.keyID, EncryptionContext: ec}); err != nil {
		return nil, err
	}
	e, err := m.find(ctx, c, id)
	if err != nil {
		return nil, err
	}
	for i := range e.record.Old {
		for _, l := range at {
			if e.record.Old[i].at() != l {
				continue
			}
			opener, err := m.openOld(c, e.record, i)
			if err != nil {
				return nil, err
			}
			plaintext, err := opener.Decrypt(ciphertext, ec)
			if err == nil {
				c.tally = m.usage.of(id, 0)
				return plaintext, nil
			}
			if !errors.Is(err, legacy.ErrCiphertext) {
				return nil, fromSource(c, err)
			}
		}
	}
	return nil, refuse(c.op, c.keyID, ErrCiphertext)
}

// openOld opens the i-th version that a key had in another system.
func (m *Manager) openOld(c *call, r *record, i int) (legacy.Opener, error) {
	v := &r.Old[i]
	if r.Owner == OwnerLegacy {
		return m.legacy.keys[r.ID].open(c, i)
	}
	source := m.legacy.scheme(v.Scheme)
	if source == nil {
		return nil, unsupported(c.op, r.id(), "no source of Config.Legacy is of the scheme "+v.Scheme,
			"Open the Manager with a source of that scheme in Config.Legacy. One without keys is enough, because the key was taken over.")
	}
	material, err := r.keys.Open(v.place(r.ID, i), v.Sealed)
	if err != nil {
		return nil, refuseBecause(c.op, r.id(), ErrTampered, "the sealed material of another system", nil)
	}
	defer clear(material)
	opener, err := source.Open(v.Locator, material)
	if err != nil {
		return nil, fromSource(c, err)
	}
	return opener, nil
}

// open opens a version that is the source's still, and keeps it open.
func (k *sourceKey) open(c *call, i int) (legacy.Opener, error) {
	if opener := k.opened[i].Load(); opener != nil {
		return *opener, nil
	}
	material := k.key.Versions[i].Material()
	defer clear(material)
	opener, err := k.source.Open(k.key.Versions[i].Locator, material)
	if err != nil {
		return nil, fromSource(c, err)
	}
	k.opened[i].Store(&opener)
	return opener, nil
}

// fromSource gives a source's error the name that callers know.
func fromSource(c *call, err error) error {
	if errors.Is(err, legacy.ErrUnsupported) {
		return &refusal{op: c.op, keyID: c.keyID, cond: ErrUnsupported, text: "the source of Config.Legacy", cause: err,
			hint: "The source of Config.Legacy does not open keys of this kind, or not in this program. Open the ciphertext in the other system and encrypt it here."}
	}
	return &refusal{op: c.op, keyID: c.keyID, cond: ErrMaterialGone, text: "the source of Config.Legacy does not open it",
		hint: "The key store is intact. Open the Manager with the source in Config.Legacy that gave the key, and with what that needs."}
}

// oldNeedsRewrap tells whether a ciphertext of another system may be of a key that was taken
// over, and so of one that has a version to encrypt with.
func (m *Manager) oldNeedsRewrap(ctx context.Context, c *call, ciphertext []byte) (bool, error) {
	if err := c.enter(ctx); err != nil {
		return false, err
	}
	ids, err := m.makers(ctx, c, m.legacy.locate(ciphertext))
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		c.keyID = id.String()
		if err := c.authorize(ctx, Request{KeyID: c.keyID}); err != nil {
			return false, err
		}
		e, err := m.find(ctx, c, id)
		if err != nil {
			return false, err
		}
		if e.record.Owner != OwnerLegacy {
			return true, nil
		}
	}
	if len(ids) == 0 {
		return false, refuse(c.op, "", ErrCiphertext)
	}
	return false, nil
}
