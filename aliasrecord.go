package kms

import (
	"context"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/keystore"
)

// aliasRecord is the item of an alias. A deleted alias has the zero Key.
type aliasRecord struct {
	Key keyID  `json:"key"`
	Seq uint64 `json:"seq"`
}

// An aliasEntry is an alias as it was read. The zero id: there is no such alias.
type aliasEntry struct {
	id      keyID
	text    string
	seq     uint64
	version keystore.Version
	readAt  time.Time
}

func (m *Manager) writeAlias(ctx context.Context, c *call, alias string, current aliasEntry, id keyID) error {
	in := m.home.Load().in
	value, err := in.encodeItem(alias, aliasRecord{Key: id, Seq: current.seq + 1})
	if err != nil {
		return errors.NewAssertionErrorWithWrappedErrf(err, "kms: an alias that cannot be encoded")
	}
	known := m.latestAliases.before(alias)
	if _, err = m.putHome(ctx, c, in, alias, current.version, value); err == nil {
		m.latestAliases.saw(alias, current.seq+1, known)
	}
	m.aliases.drop(alias)
	return written(c.op, "", err)
}

// alive tells whether the key of an alias is still there.
func (m *Manager) alive(ctx context.Context, c *call, id keyID) (bool, error) {
	if id == (keyID{}) {
		return false, nil
	}
	probe := *c
	e, err := m.fetch(ctx, &probe, id)
	switch {
	case refusedAs(err, ErrUnavailable):
		return false, err
	case err != nil:
		return !refusedAs(err, ErrNotFound), nil // a record that was changed is there
	}
	ie, err := m.instanceOf(ctx, &probe, e.record.in.id)
	if err != nil {
		return false, err
	}
	return e.record.state(ie, c.now()) != Deleted, nil
}

// aliasTarget is what an alias names, from memory where that is fresh enough.
func (m *Manager) aliasTarget(ctx context.Context, c *call, alias string) (aliasEntry, error) {
	if err := m.aliasChanges.follow(ctx, c); err != nil {
		return aliasEntry{}, unavailable(c.op, "", "the key store", err)
	}
	a, ok := m.aliases.get(alias)
	if ok && m.aliasChanges.holds(&a.readAt, c) {
		return a, nil
	}
	mark := m.aliases.mark(alias)
	a, err := m.loadAlias(ctx, c, alias)
	if err == nil && a.id != (keyID{}) {
		m.aliases.put(alias, a, mark)
	}
	return a, err
}

// loadAlias reads an alias from the store.
func (m *Manager) loadAlias(ctx context.Context, c *call, alias string) (aliasEntry, error) {
	sent, known := m.clock(), m.latestAliases.before(alias)
	item, err := m.store.Get(ctx, alias)
	var a aliasEntry
	switch {
	case errors.Is(err, keystore.ErrNotFound):
	case err != nil:
		return aliasEntry{}, unavailable(c.op, "", "the key store", err)
	default:
		item.Name = alias
		if a, err = m.readAlias(ctx, c, item); err != nil {
			return aliasEntry{}, err
		}
	}
	switch older, err := m.latestAliases.older(ctx, a.seq, known); {
	case err != nil:
		return aliasEntry{}, unavailable(c.op, "", "the key store", err)
	case older:
		return aliasEntry{}, refuseBecause(c.op, "", ErrTampered, "the record of an alias: "+putBack, nil)
	}
	m.latestAliases.saw(alias, a.seq, known)
	a.readAt = sent
	return a, nil
}

func (m *Manager) readAlias(ctx context.Context, c *call, item keystore.Item) (aliasEntry, error) {
	var rec aliasRecord
	tampered := refuseBecause(c.op, "", ErrTampered, "the record of an alias", nil)
	if err := m.readHome(ctx, c, item.Name, item.Value, &rec, tampered); err != nil {
		return aliasEntry{}, err
	}
	a := aliasEntry{id: rec.Key, seq: rec.Seq, version: item.Version}
	if rec.Key != (keyID{}) {
		a.text = rec.Key.String()
	}
	return a, nil
}
