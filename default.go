package kms

import (
	"context"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/keystore"
)

// DefaultKey is the alias of the default key, of which a key store has at most one. Where
// it names no key yet, or one that was deleted, the first call that encrypts under it
// makes one, and Authorize and Observe see a CreateKey.
const DefaultKey = "alias/default"

// makeDefault makes the default key. The alias is given an ID before the key of that ID
// is made, so that of many who try at once, or are killed between the two, all end
// with the same key.
func (m *Manager) makeDefault(ctx context.Context, c *call, ec EncryptionContext) (_ *entry, err error) {
	making := m.begin(OpCreateKey)
	making.now = c.now
	defer making.end(ctx, &err)
	if err := making.authorize(ctx, Request{Alias: DefaultKey}); err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		alias, err := m.loadAlias(ctx, making, DefaultKey)
		if err != nil {
			return nil, err
		}
		making.keyID = alias.text
		e, err := m.load(ctx, making, alias.id)
		switch {
		case alias.id == (keyID{}) || err == nil && e.record.facts().state(c.now) == Deleted:
			err = m.writeAlias(ctx, making, DefaultKey, alias, m.ids.next(c.now))
		case errors.Is(err, ErrNotFound):
			err = m.createAs(ctx, making, alias.id)
		case err == nil:
			c.keyID = alias.text
			if err := c.authorize(ctx, Request{KeyID: c.keyID, Alias: DefaultKey, EncryptionContext: ec}); err != nil {
				return nil, err
			}
			return m.find(ctx, c, alias.id)
		}
		if err != nil && !errors.Is(err, keystore.ErrConflict) {
			return nil, err
		}
	}
	return nil, unavailable(c.op, "", "", context.Cause(ctx))
}

// createAs makes a key with every default under an ID that was chosen before.
func (m *Manager) createAs(ctx context.Context, c *call, id keyID) error {
	r, err := m.newRecord(c, CreateKeyOptions{Description: "The default key."})
	if err != nil {
		return err
	}
	r.ID, r.text = id, id.String()
	return m.create(ctx, c, r)
}
