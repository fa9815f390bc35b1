package kms

import (
	"context"
	"slices"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/legacy"
)

// decryptOld opens a ciphertext with a version that the key had in another system.
func (m *Manager) decryptOld(ctx context.Context, c *call, e *entry, dst, ciphertext []byte, ec EncryptionContext) ([]byte, error) {
	at := m.legacy.locate(ciphertext)
	for i := range e.record.Old {
		if !slices.Contains(at, e.record.Old[i].at()) {
			continue
		}
		opener, err := m.openOld(c, e.record, i)
		if err != nil {
			return nil, err
		}
		plaintext, err := opener.Decrypt(ciphertext, ec)
		if err == nil {
			c.version, c.tally = 0, m.usage.of(e.record.ID, 0)
			return moved(dst, plaintext), nil
		}
		if !errors.Is(err, legacy.ErrCiphertext) {
			return nil, fromSource(c, err)
		}
	}
	return nil, refuse(c.op, c.keyID, ErrCiphertext)
}

// moved appends a plaintext to dst and wipes it, unless it can be had as it is.
func moved(dst, plaintext []byte) []byte {
	if dst == nil {
		return plaintext
	}
	defer clear(plaintext)
	return append(dst, plaintext...)
}

// decryptForeign opens a ciphertext with each key in turn that may have made it in another system,
// for it does not say whose it is; it authenticates under one alone. If none opens it, the answer
// is the refusal of the key that it seems to name, which is missing here; without one, that of the
// first key that was refused, for it may be that one's.
func (m *Manager) decryptForeign(ctx context.Context, c *call, dst, ciphertext []byte, ec EncryptionContext, missing error) ([]byte, error) {
	refused, answered := missing, *c
	ids, err := m.makers(ctx, c, m.legacy.locate(ciphertext))
	if err != nil && missing == nil {
		return nil, err
	}
	if len(ids) == 0 && missing == nil { // a caller who is denied does not learn that no key is known
		if err := c.authorize(ctx, Request{EncryptionContext: ec}); err != nil {
			return nil, err
		}
	}
	for _, id := range ids {
		tried := *c
		tried.keyID = id.String()
		var plaintext []byte
		e, err := m.decryptor(ctx, &tried, id, ec)
		if err == nil {
			plaintext, err = m.decryptWith(ctx, &tried, e, dst, ciphertext, ec)
		}
		if err == nil {
			*c = tried
			return plaintext, nil
		}
		if refused == nil && !refusedAs(err, ErrCiphertext) {
			refused, answered = nameless(err), tried
		}
	}
	*c = answered
	if refused != nil {
		return nil, refused
	}
	c.keyID = ""
	if len(ids) == 1 {
		c.keyID = ids[0].String()
	}
	return nil, refuse(c.op, c.keyID, ErrCiphertext)
}

// nameless is a refusal by Authorize without the key, which the caller did not name.
func nameless(err error) error {
	if r := refusalOf(err); r != nil && r.cond == ErrDenied {
		return refuseBecause(r.op, "", ErrDenied, "", r.cause)
	}
	return err
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

// oldNeedsRewrap reports whether a ciphertext of another system may be of a key that was taken
// over, and so of one that has a version to encrypt with. A key that is refused does not keep the
// others.
func (m *Manager) oldNeedsRewrap(ctx context.Context, c *call, ciphertext []byte) (bool, error) {
	if err := c.enter(ctx); err != nil {
		return false, err
	}
	ids, err := m.makers(ctx, c, m.legacy.locate(ciphertext))
	if err != nil {
		return false, err
	}
	if len(ids) == 0 {
		if err := c.authorize(ctx, Request{}); err != nil {
			return false, err
		}
	}
	var refused error
	answered := *c
	for _, id := range ids {
		tried := *c
		tried.keyID = id.String()
		e, err := m.decryptor(ctx, &tried, id, nil)
		switch {
		case err == nil && e.record.Owner != OwnerLegacy:
			*c = tried
			return true, nil
		case err == nil && refused == nil:
			answered = tried
		case err != nil && refused == nil:
			refused, answered = nameless(err), tried
		}
	}
	*c = answered
	if len(ids) == 0 {
		return false, refuse(c.op, "", ErrCiphertext)
	}
	return false, refused
}
