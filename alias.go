package kms

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/keystore"
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
// the alias is taken, with ErrPendingDeletion if the key is PendingDeletion, and with ErrInvalid if
// "alias/default" is to name a key of another instance than the default one. The alias of a
// key that was deleted is free again.
//
// By what the key is, it is refused with ErrInstanceExpired, ErrNotFound, ErrPendingDeletion
// and ErrReadOnly.
func (m *Manager) CreateAlias(ctx context.Context, alias, ref string) error {
	return m.pointAlias(ctx, OpCreateAlias, alias, ref)
}

// UpdateAlias makes an alias the name of another key. It is refused with ErrNotFound
// where there is no such alias, and as its new key's state says.
//
// By what the key is, it is refused with ErrInstanceExpired, ErrNotFound, ErrPendingDeletion
// and ErrReadOnly.
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
	if err := checkName(op, alias, e.record.keys.ID(), ""); err != nil {
		return err
	}
	return m.changeAlias(ctx, c, alias, func(alive bool) (keyid.ID, error) {
		switch {
		case op == OpCreateAlias && alive:
			return keyid.ID{}, refuseBecause(op, "", ErrExists, "the alias is that of another key, or of this one already", nil)
		case op == OpUpdateAlias && !alive:
			return keyid.ID{}, aliasNotFound(op, alias)
		default:
			return id, nil
		}
	})
}

// DeleteAlias takes a name from its key, in whatever state that is. The key stays.
//
// By what the key is, it is refused with ErrNotFound and ErrReadOnly.
func (m *Manager) DeleteAlias(ctx context.Context, alias string) (err error) {
	c := m.begin(OpDeleteAlias)
	defer c.end(ctx, &err)
	if err := c.checkAlias(alias); err != nil {
		return err
	}
	return m.changeAlias(ctx, c, alias, func(alive bool) (keyid.ID, error) {
		if !alive {
			return keyid.ID{}, aliasNotFound(c.op, alias)
		}
		return keyid.ID{}, nil
	})
}

// Aliases yields the aliases of a key, or with an empty ref those of all keys, ascending
// by name. Aliases of deleted keys are gone with them. An alias whose record was changed
// behind the service's back is yielded with ErrTampered, and the loop goes on; any other
// error ends it.
func (m *Manager) Aliases(ctx context.Context, ref string) iter.Seq2[Alias, error] {
	return func(yield func(Alias, error) bool) {
		var err error
		yield = endedIn(ctx, yield)
		c := m.begin(OpListAliases)
		defer c.end(ctx, &err)
		var of keyid.ID
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
				err = c.storeFailed("", failed)
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

// changeAlias reads an alias, asks Authorize, lets decide say which key the alias is to name (the
// zero ID: none), and writes that, from the start again if another was quicker. A caller who is
// denied has cost one read, whether or not there is such an alias.
func (m *Manager) changeAlias(ctx context.Context, c *call, alias string, decide func(alive bool) (keyid.ID, error)) error {
	if err := c.enter(ctx); err != nil {
		return err
	}
	return c.retry(ctx, "", func() error {
		current, err := m.loadAlias(ctx, c, alias)
		if c.op == OpDeleteAlias {
			c.keyID = current.text
		}
		if denied := c.authorize(ctx, Request{KeyID: current.text, Alias: alias}); denied != nil {
			return denied
		}
		if err != nil {
			return err
		}
		alive, err := m.alive(ctx, c, current.id)
		if err != nil {
			return err
		}
		id, err := decide(alive)
		if err != nil {
			return err
		}
		return m.writeAlias(ctx, c, alias, current, id)
	})
}

// validAlias tells whether a name could be an alias.
func validAlias(s string) bool {
	name, ok := strings.CutPrefix(s, aliasSegment)
	return ok && name != "" && len(s) <= MaxAlias && only(name, alphanumeric+"/_-")
}

// checkAlias refuses what could be no alias, and what callers may not name.
func (c *call) checkAlias(alias string) error { return checkName(c.op, alias, DefaultInstance, "") }

// checkName refuses an alias that no key of that instance may have; service is the code of the
// service whose key it is, and "" for all other keys.
func checkName(op Op, alias, instance, service string) error {
	switch own := serviceAliases + service; {
	case !validAlias(alias):
		return badAlias(op)
	case service != "" && (alias != own || instance != DefaultInstance):
		return invalid(op, "the key of a service has one alias, %s and the service's code", serviceAliases)
	case service == "" && strings.HasPrefix(alias, reservedAliases):
		return invalid(op, "the alias begins with %s, which is reserved for service keys", reservedAliases)
	case alias == DefaultKey && instance != DefaultInstance:
		return invalid(op, "%s is an alias for a key of the default instance alone", DefaultKey)
	}
	return nil
}

func badAlias(op Op) error {
	return invalid(op, "the alias is not %q and 1 to %d characters out of a-z A-Z 0-9 / _ -", aliasSegment, MaxAlias-len(aliasSegment))
}

// aliasNotFound is ErrNotFound with the code for aliases.
func aliasNotFound(op Op, alias string) error {
	hint := "Check the alias. Aliases lists them all. An alias goes with its key when that is deleted."
	switch {
	case op == OpUpdateAlias:
		hint = "Give the alias to a key with CreateAlias; UpdateAlias moves one that there is."
	case alias == DefaultKey:
		hint = "The default key is made by the first call that encrypts or makes a data key under " + DefaultKey + ". Until then, and after its deletion, there is none."
	case strings.HasPrefix(alias, serviceAliases):
		hint = "The key of a service is made by the service itself, by Manager.Service(code).Key. Until then, and after its deletion, there is none."
	}
	return &aliasError{refusal{op: op, cond: ErrNotFound, text: "no such alias", hint: hint}}
}

type aliasError struct{ refusal }

func (*aliasError) code() string { return "Forbidden.AliasNotFound" }

// aliasRecord is the item of an alias. A deleted alias has the zero Key.
type aliasRecord struct {
	Key keyid.ID `json:"key"`
	Seq uint64   `json:"seq"`
}

// An aliasEntry is an alias as it was read. The zero id: there is no such alias.
type aliasEntry struct {
	id      keyid.ID
	text    string
	seq     uint64
	version keystore.Version
	readAt  time.Time
}

func (m *Manager) writeAlias(ctx context.Context, c *call, alias string, current aliasEntry, id keyid.ID) error {
	known := m.latestAliases.Before(alias)
	err := m.putHome(ctx, c, alias, current.version, aliasRecord{Key: id, Seq: current.seq + 1})
	if err == nil {
		m.latestAliases.Saw(alias, current.seq+1, known)
	}
	m.aliases.Drop(alias)
	return written(c.op, "", err)
}

// alive tells whether the key of an alias is still there.
func (m *Manager) alive(ctx context.Context, c *call, id keyid.ID) (bool, error) {
	if id == (keyid.ID{}) {
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
	ie, err := m.instanceOf(ctx, &probe, e.record.keys.ID())
	if err != nil {
		return false, err
	}
	return e.record.state(ie, c.now()) != Deleted, nil
}

// aliasTarget is what an alias names, from memory where that is fresh enough, and whether the store
// was asked.
func (m *Manager) aliasTarget(ctx context.Context, c *call, alias string) (_ aliasEntry, asked bool, err error) {
	if err := m.aliasChanges.Follow(ctx, &c.moment); err != nil {
		return aliasEntry{}, true, c.storeFailed("", err)
	}
	a, ok := m.aliases.Get(alias)
	if ok && m.aliasChanges.Holds(&a.readAt, &c.moment) {
		return a, false, nil
	}
	mark := m.aliases.Mark(alias)
	a, err = m.loadAlias(ctx, c, alias)
	if err == nil && a.id != (keyid.ID{}) {
		m.aliases.Put(alias, a, mark)
	}
	return a, true, err
}

// loadAlias reads an alias from the store.
func (m *Manager) loadAlias(ctx context.Context, c *call, alias string) (aliasEntry, error) {
	sent, known := m.clock(), m.latestAliases.Before(alias)
	item, err := m.store.Get(ctx, alias)
	var a aliasEntry
	switch {
	case errors.Is(err, keystore.ErrNotFound):
	case err != nil:
		return aliasEntry{}, c.storeFailed("", err)
	default:
		item.Name = alias
		if a, err = m.readAlias(ctx, c, item); err != nil {
			return aliasEntry{}, err
		}
	}
	older, err := m.latestAliases.Older(ctx, a.seq, known)
	if err != nil {
		return aliasEntry{}, c.storeFailed("", err)
	}
	if older {
		return aliasEntry{}, refuseBecause(c.op, "", ErrTampered, "the record of an alias: "+putBack, nil)
	}
	m.latestAliases.Saw(alias, a.seq, known)
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
	if rec.Key != (keyid.ID{}) {
		a.text = rec.Key.String()
	}
	return a, nil
}
