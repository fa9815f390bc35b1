package kms

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/fresh"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/internal/wire"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/provider"
)

// An entry is a key as it was read: its record and, once they were used, its opened
// versions. It is never changed, but for being opened.
type entry struct {
	text     string                  // the ID as callers see it; with what follows, all that most uses read
	header   wire.Header             // of what is encrypted
	standing opSet                   // what may be done with it at any time
	primary  atomic.Pointer[openKey] // the version that encrypts; nil: it was not opened yet
	others   *openKeys               // the other versions, each in its place in the record; nil: there are none
	record   *record
	readAt   *time.Time // when the store was asked, where that is all that tells its age
	version  keystore.Version
	mac      [sealing.MACSize / 2]byte // of the record, its first half
}

// An openKey is an opened key version, and where its uses are counted.
type openKey struct {
	provider.Key
	tally *tally
}

type openKeys []atomic.Pointer[openKey]

// resolve turns what a caller named into a key ID, lets the call in, and asks Authorize.
func (m *Manager) resolve(ctx context.Context, c *call, ref string) (keyid.ID, error) {
	return m.resolveFor(ctx, c, ref, nil)
}

func (m *Manager) resolveFor(ctx context.Context, c *call, ref string, ec EncryptionContext) (keyid.ID, error) {
	if err := c.enter(ctx); err != nil {
		return keyid.ID{}, err
	}
	id, ok := keyid.Parse(ref)
	alias, read := "", false
	switch {
	case ok:
		c.keyID = ref
	case strings.HasPrefix(ref, aliasSegment):
		alias = ref
		if !validAlias(alias) {
			return keyid.ID{}, badAlias(c.op)
		}
		found, asked, err := m.aliasTarget(ctx, c, alias)
		if err == nil && found.id == (keyid.ID{}) {
			err = aliasNotFound(c.op, alias)
		}
		if err != nil {
			if denied := c.authorize(ctx, Request{Alias: alias, EncryptionContext: ec}); denied != nil {
				return keyid.ID{}, denied
			}
			return keyid.ID{}, err
		}
		id, c.keyID, read = found.id, found.text, asked
	default:
		return keyid.ID{}, invalid(c.op, "the ref is neither a key ID nor an alias, which begins with %s", aliasSegment)
	}
	if m.ask == nil {
		return id, nil
	}
	denied := c.authorize(ctx, Request{KeyID: c.keyID, Alias: alias, EncryptionContext: ec})
	if denied != nil && alias != "" && !read {
		_, _ = m.loadAlias(ctx, c, alias) // it takes as long as that there is no such alias
	}
	return id, denied
}

// lookup finds the key that a caller named, from memory where that is fresh enough, and
// lets the table decide whether the call may go on.
func (m *Manager) lookup(ctx context.Context, c *call, ref string, ec EncryptionContext) (*entry, error) {
	id, err := m.resolveFor(ctx, c, ref, ec)
	if err != nil {
		return nil, err
	}
	return m.find(ctx, c, id)
}

// find is lookup by ID, after Authorize.
func (m *Manager) find(ctx context.Context, c *call, id keyid.ID) (*entry, error) {
	e, err := m.fetch(ctx, c, id)
	if err != nil {
		return nil, err
	}
	if e.standing.has(c.op) {
		return e, nil
	}
	if _, err := m.allow(ctx, c, e.record); err != nil {
		return nil, err
	}
	if c.refused = e.record.dim(c); c.refused != nil {
		return nil, c.refused
	}
	return e, nil
}

// fetch is find before the table decides.
func (m *Manager) fetch(ctx context.Context, c *call, id keyid.ID) (*entry, error) {
	if err := m.keyChanges.Follow(ctx, &c.moment); err != nil {
		c.keyID = id.String()
		return nil, c.storeFailed(c.keyID, err)
	}
	e, ok := m.keys.Get(id)
	if !ok || !m.keyChanges.Holds(e.readAt, &c.moment) {
		return m.load(ctx, c, id)
	}
	c.keyID = e.text
	return e, nil
}

// load reads a key from the store and keeps it. Where the store still holds the record that
// is in memory, what was opened of it stays open.
func (m *Manager) load(ctx context.Context, c *call, id keyid.ID) (*entry, error) {
	mark, sent, known := m.keys.Mark(id), m.clock(), m.latestKeys.Before(id)
	c.keyID = id.String()
	item, err := m.store.Get(ctx, keyItem(c.keyID))
	if errors.Is(err, keystore.ErrNotFound) {
		if err := m.notOlder(ctx, c, 0, known); err != nil {
			return nil, err
		}
		// A key of another system is not kept: that it was taken over is a creation, and no
		// feed tells of those.
		if old := m.legacy.keys[id]; old != nil {
			return &entry{record: old.record(id, m.home.Load().keys)}, nil
		}
		return nil, refuse(c.op, c.keyID, ErrNotFound)
	}
	if err != nil {
		return nil, c.storeFailed(c.keyID, err)
	}
	mac := sealing.MAC(item.Value)
	e := &entry{version: item.Version, mac: [sealing.MACSize / 2]byte(mac[:]), readAt: m.keyChanges.Dated(sent)}
	if kept, ok := m.keys.Get(id); ok && kept.version == e.version && kept.mac == e.mac {
		e.record, e.standing, e.others = kept.record, kept.standing, kept.others
		e.primary.Store(kept.primary.Load())
	} else {
		if e.record, err = m.readRecord(ctx, c, c.keyID, item.Value); err != nil {
			return nil, err
		}
		e.standing = m.standing(e.record)
		if e.record.hasOthers() {
			others := make(openKeys, len(e.record.Versions))
			e.others = &others
		}
	}
	if err := m.notOlder(ctx, c, e.record.Seq, known); err != nil {
		return nil, err
	}
	m.latestKeys.Saw(id, e.record.Seq, known)
	e.text, e.header = c.keyID, wire.Header{Suite: suiteOf(e.record.Protection), ID: id, Version: e.record.Primary}
	if e.record.DestroyedAt.IsZero() {
		m.keys.Put(id, e, mark)
	}
	return e, nil
}

// notOlder refuses a record of a key that is older than what was known when it was asked for.
func (m *Manager) notOlder(ctx context.Context, c *call, seq uint64, known fresh.Sight) error {
	older, err := m.latestKeys.Older(ctx, seq, known)
	if err != nil {
		return c.storeFailed(c.keyID, err)
	}
	if older {
		return refuseBecause(c.op, c.keyID, ErrTampered, putBack, nil)
	}
	return nil
}

// putBack is what is said of a record that is authentic, and was there before.
const putBack = "it is older than one that was read or written before, or was taken away"

// errNoVersion is the answer of open where the key has no such version.
var errNoVersion = errors.New("kms: no such key version")

// openPrimary returns the primary version of the key, for a use of it.
func (m *Manager) openPrimary(ctx context.Context, c *call, e *entry) (*openKey, error) {
	key, err := m.open(ctx, c, e, e.header.Version)
	if err != nil && errors.Is(err, errNoVersion) {
		return nil, refuseBecause(c.op, c.keyID, ErrMaterialGone, "the record has no primary version", nil)
	}
	return key, err
}

// open returns a version of the key, opened and kept with the entry. Callers that come at once may
// each open it, so that none waits for another's provider.
func (m *Manager) open(ctx context.Context, c *call, e *entry, version uint32) (*openKey, error) {
	place := &e.primary
	if version != e.header.Version {
		if c.refused = e.record.refuseRetired(c, version); c.refused != nil {
			return nil, c.refused
		}
		i := e.record.version(version)
		if i < 0 {
			return nil, errNoVersion
		}
		place = &(*e.others)[i]
	}
	c.version = version
	key := place.Load()
	if key == nil {
		var err error
		if key, err = m.openVersion(ctx, c, e.record); err != nil {
			return nil, err
		}
		place.Store(key)
	}
	c.tally = key.tally
	return key, nil
}

// openVersion has the provider open the version that a call is about.
func (m *Manager) openVersion(ctx context.Context, c *call, r *record) (*openKey, error) {
	i := r.version(c.version)
	if i < 0 {
		return nil, errNoVersion
	}
	p, err := m.provider(c, r)
	if err != nil {
		return nil, err
	}
	material, err := m.material(c, r, &r.Versions[i])
	if err != nil {
		return nil, err
	}
	defer clear(material)
	key, err := p.Open(ctx, versionID(r, c.version), r.Spec, material)
	if err != nil {
		return nil, fromProvider(c.op, r.id(), err)
	}
	return &openKey{Key: key, tally: m.usage.of(r.ID, c.version)}, nil
}
