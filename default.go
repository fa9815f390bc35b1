package kms

import (
	"context"

	"github.com/cockroachdb/errors"
)

// DefaultKey is the alias of the default key, of which a key store has at most one. Where
// it names no key yet, or one that was deleted, the first call that encrypts under it
// makes one, and Authorize and Observe see a CreateKey.
const DefaultKey = "alias/default"

// makeDefault makes the default key. The alias is given an ID before the key of that ID
// is made, so that of many who try at once, or are killed between the two, all end
// with the same key.
func (m *Manager) makeDefault(ctx context.Context, c *call, ec EncryptionContext) (*entry, error) {
	making := *c
	making.op = OpCreateKey
	if err := making.authorize(ctx, Request{Alias: DefaultKey}); err != nil {
		making.end(ctx, &err)
		return nil, err
	}
	for ctx.Err() == nil {
		alias, err := m.loadAlias(ctx, &making, DefaultKey)
		if err != nil {
			return nil, err
		}
		e, err := m.loadTarget(ctx, &making, alias)
		switch {
		case err != nil:
			return nil, err
		case e == nil && alias.id != (keyID{}): // claimed, and not made yet
			err = m.createAs(ctx, &making, alias.id)
		case e == nil || e.record.facts().state(c.now) == Deleted:
			err = m.writeAlias(ctx, &making, DefaultKey, alias, m.ids.next(c.now))
		default:
			c.keyID = alias.text
			if err := c.authorize(ctx, Request{KeyID: c.keyID, Alias: DefaultKey, EncryptionContext: ec}); err != nil {
				return nil, err
			}
			return m.find(ctx, c, alias.id)
		}
		if err != nil && !errors.Is(err, errStale) {
			return nil, err
		}
	}
	return nil, unavailable(c.op, "", "", context.Cause(ctx))
}

// loadTarget reads the key of an alias, or nil if there is none.
func (m *Manager) loadTarget(ctx context.Context, c *call, alias aliasEntry) (*entry, error) {
	if alias.id == (keyID{}) {
		return nil, nil
	}
	e, err := m.load(ctx, c, alias.id)
	if refusedAs(err, ErrNotFound) {
		return nil, nil
	}
	return e, err
}

// createAs makes a key with every default under an ID that was chosen before. It is told as
// CreateKey, unless somebody else was quicker: that is errStale.
func (m *Manager) createAs(ctx context.Context, c *call, id keyID) error {
	r, err := m.newRecord(c, CreateKeyOptions{Description: "The default key."})
	if err == nil {
		r.ID, r.text = id, id.String()
		c.keyID = r.text
		err = m.create(ctx, c, r)
	}
	if !errors.Is(err, errStale) {
		c.end(ctx, &err)
	}
	return err
}
