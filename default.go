package kms

import (
	"context"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
)

// DefaultKey is the alias of the default key, of which a key store has at most one. Where
// it names no key yet, or one that was deleted, the first call that encrypts under it
// makes one, and Authorize and Observe see a CreateKey.
const DefaultKey = "alias/default"

// A namedKey is a key that is made when it is first asked for by its alias. There is one of
// it in the default instance.
type namedKey struct {
	description string
	owner       Owner
	service     string
}

// makeNamed makes the key of an alias. The alias is given an ID before the key of that ID
// is made, so that of many who try at once, or are killed between the two, all end
// with the same key.
func (m *Manager) makeNamed(ctx context.Context, c *call, name string, ec EncryptionContext, n namedKey) (*entry, error) {
	making := *c
	making.op, making.keyID, making.instance = OpCreateKey, "", DefaultInstance
	if err := making.authorize(ctx, Request{Alias: name, Instance: DefaultInstance}); err != nil {
		making.end(ctx, &err)
		return nil, err
	}
	var gone keyid.ID // of this ID there was a key
	for ctx.Err() == nil {
		alias, err := m.loadAlias(ctx, &making, name)
		if err != nil {
			return nil, err
		}
		state, err := m.targetState(ctx, &making, alias)
		switch {
		case err != nil:
			return nil, err
		case state == stateNone && alias.id != gone: // claimed, and not made yet
			if err = m.createAs(ctx, &making, alias.id, n); errors.Is(err, errStale) {
				gone = alias.id // unless it was made just now, as the next look shows
			}
		case state == stateNone || state == Deleted:
			err = m.writeAlias(ctx, &making, name, alias, m.ids.Next(c.now()))
		default:
			c.keyID = alias.text
			if err := c.authorize(ctx, Request{KeyID: c.keyID, Alias: name, EncryptionContext: ec}); err != nil {
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

// targetState is the state of the key of an alias; none where there is no key, or none any
// more that could be read.
func (m *Manager) targetState(ctx context.Context, c *call, alias aliasEntry) (State, error) {
	if alias.id == (keyid.ID{}) {
		return stateNone, nil
	}
	e, err := m.load(ctx, c, alias.id)
	if refusedAs(err, ErrNotFound) {
		return stateNone, nil
	}
	if err != nil {
		return stateNone, err
	}
	ie, err := m.instanceOf(ctx, c, e.record.keys.ID())
	if err != nil {
		return stateNone, err
	}
	return e.record.state(ie, c.now()), nil
}

// createAs makes a key with every default under an ID that was chosen before. It is told as
// CreateKey, unless somebody else was quicker: that is errStale.
func (m *Manager) createAs(ctx context.Context, c *call, id keyid.ID, n namedKey) error {
	r, err := m.newRecord(c, CreateKeyOptions{Description: n.description})
	if err == nil {
		r.ID, r.Owner, r.Service = id, n.owner, n.service
		c.keyID = r.id()
		if _, err = m.settleIn(ctx, c, r, DefaultInstance, ""); err == nil {
			err = m.create(ctx, c, r)
		}
	}
	if !errors.Is(err, errStale) {
		c.end(ctx, &err)
	}
	return err
}
