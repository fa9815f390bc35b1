package kms

import (
	"context"
	"iter"

	"github.com/cockroachdb/errors"
)

// Alias is a name of a key.
type Alias struct {
	Name  string // "alias/…"
	KeyID string
}

// MaxAlias is the longest alias, in characters, "alias/" included.
const MaxAlias = 255

// reservedAliases begin the aliases of service keys, which no caller may name.
const (
	reservedAliases = "alias/acs"
	serviceAliases  = reservedAliases + "/"
)

// CreateAlias gives a key a further name: "alias/" and 1 to 249 characters out of
// a-z A-Z 0-9 / _ -, not beginning with "alias/acs". It is refused with ErrExists where
// the alias is taken and with ErrState where the key is PendingDeletion. The alias of a
// key that was deleted is free again.
func (m *Manager) CreateAlias(ctx context.Context, alias, ref string) error {
	return m.pointAlias(ctx, OpCreateAlias, alias, ref)
}

// UpdateAlias makes an alias the name of another key. It is refused with ErrNotFound
// where there is no such alias, and as its new key's state says.
func (m *Manager) UpdateAlias(ctx context.Context, alias, ref string) error {
	return m.pointAlias(ctx, OpUpdateAlias, alias, ref)
}

func (m *Manager) pointAlias(ctx context.Context, op Op, alias, ref string) (err error) {
	c := m.begin(op)
	defer c.end(ctx, &err)
	if err := c.checkAlias(alias); err != nil {
		return err
	}
	id, err := m.resolve(ctx, c, ref)
	if err != nil {
		return err
	}
	e, err := m.load(ctx, c, id)
	if err != nil {
		return err
	}
	if _, err := m.allow(ctx, c, e.record); err != nil {
		return err
	}
	return m.changeAlias(ctx, c, alias, func(current aliasEntry, alive bool) (keyID, error) {
		if err := c.authorize(ctx, Request{KeyID: current.text, Alias: alias}); err != nil {
			return keyID{}, err
		}
		switch {
		case op == OpCreateAlias && alive:
			return keyID{}, refuse(op, "", ErrExists)
		case op == OpUpdateAlias && !alive:
			return keyID{}, aliasNotFound(op)
		default:
			return id, nil
		}
	})
}

// DeleteAlias takes a name from its key, in whatever state that is. The key stays.
func (m *Manager) DeleteAlias(ctx context.Context, alias string) (err error) {
	c := m.begin(OpDeleteAlias)
	defer c.end(ctx, &err)
	if err := c.checkAlias(alias); err != nil {
		return err
	}
	return m.changeAlias(ctx, c, alias, func(current aliasEntry, alive bool) (keyID, error) {
		c.keyID = current.text
		if err := c.authorize(ctx, Request{KeyID: c.keyID, Alias: alias}); err != nil {
			return keyID{}, err
		}
		if !alive {
			return keyID{}, aliasNotFound(c.op)
		}
		return keyID{}, nil
	})
}

// Aliases yields the aliases of a key, or with an empty ref those of all keys, ascending
// by name. Aliases of deleted keys are gone with them. An alias whose record was changed
// behind the service's back is yielded with ErrTampered, and the loop goes on; any other
// error ends it.
func (m *Manager) Aliases(ctx context.Context, ref string) iter.Seq2[Alias, error] {
	return func(yield func(Alias, error) bool) {
		var err error
		c := m.begin(OpListAliases)
		defer c.end(ctx, &err)
		var of keyID
		if ref == "" {
			err = c.authorize(ctx, Request{})
		} else if of, err = m.resolve(ctx, c, ref); err == nil {
			var alive bool
			if alive, err = m.alive(ctx, c, of); err == nil && !alive {
				err = refuse(c.op, c.keyID, ErrNotFound)
			}
		}
		if err != nil {
			yield(Alias{}, err)
			return
		}
		for item, failed := range m.store.List(ctx, aliasSegment, "") {
			if failed != nil {
				err = unavailable(c.op, "", "the key store", failed)
				yield(Alias{}, err)
				return
			}
			a, tampered := m.readAlias(ctx, c, item)
			if tampered != nil {
				if !yield(Alias{Name: item.Name}, tampered) {
					return
				}
				continue
			}
			if ref != "" && a.id != of {
				continue
			}
			var alive bool
			if alive, err = m.alive(ctx, c, a.id); err != nil {
				yield(Alias{}, err)
				return
			}
			if alive && !yield(Alias{Name: item.Name, KeyID: a.text}, nil) {
				return
			}
		}
	}
}

// changeAlias reads an alias, lets decide say which key it is to name (the zero ID: none),
// and writes that, from the start again if somebody else was quicker.
func (m *Manager) changeAlias(ctx context.Context, c *call, alias string, decide func(current aliasEntry, alive bool) (keyID, error)) error {
	for {
		current, err := m.loadAlias(ctx, c, alias)
		if err != nil {
			return err
		}
		alive, err := m.alive(ctx, c, current.id)
		if err != nil {
			return err
		}
		id, err := decide(current, alive)
		if err != nil {
			return err
		}
		err = m.writeAlias(ctx, c, alias, current, id)
		if !errors.Is(err, errStale) {
			return err
		}
		if ctx.Err() != nil {
			return unavailable(c.op, "", "", context.Cause(ctx))
		}
	}
}
