package kms

import (
	"context"
	"iter"
	"strings"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

// homeSegments are the segments whose items the default instance authenticates, even if they are about
// another instance. Their items hold no secret. Shred goes through them. The due index is not among
// them: its items are names alone.
var homeSegments = []string{instanceSegment, aliasSegment, usageSegment, allowanceSegment, legacySegment, maintainSegment}

// decode has try read an item with the keys of an instance. Another process may have shredded the
// instance: what does not fit is tried again with what retryWith gives, until that gives nothing
// new. Then the item is tampered with, which is what decode returns.
func (m *Manager) decode(ctx context.Context, c *call, keys *sealing.Keys, name string, value []byte, tampered error, try func(*sealing.Keys, []byte) error) error {
	for try(keys, value) != nil {
		var err error
		if keys, value, err = m.retryWith(ctx, c, keys, name, value); err != nil {
			return err
		}
		if keys == nil {
			return tampered
		}
	}
	return nil
}

// readHome fills v from an item that the default instance authenticates, or returns tampered.
func (m *Manager) readHome(ctx context.Context, c *call, name string, value []byte, v any, tampered error) error {
	return m.decode(ctx, c, m.home.Load().keys, name, value, tampered, func(keys *sealing.Keys, value []byte) error {
		return keys.Decode(name, value, v)
	})
}

// getHome fills v from an item of the store that the default instance authenticates, or returns
// tampered. If there is no such item it leaves v alone, and the version is "". Errors name keyID, the
// key that the item is about, if there is one.
func (m *Manager) getHome(ctx context.Context, c *call, name, keyID string, v any, tampered error) (keystore.Version, error) {
	item, err := m.store.Get(ctx, name)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return "", nil
	case err != nil:
		return "", c.storeFailed(keyID, err)
	}
	return item.Version, m.readHome(ctx, c, name, item.Value, v, tampered)
}

// putHome puts v as an item that the default instance authenticates, in place of the version that
// was read. Its errors are those of the codec and of the store: see written.
func (m *Manager) putHome(ctx context.Context, c *call, name string, old keystore.Version, v any) error {
	_, err := m.putHomeBy(ctx, c, m.home.Load().keys, name, old, v)
	return err
}

// putHomeBy is putHome with the keys of the default instance that are to authenticate the item. It
// returns the new version.
func (m *Manager) putHomeBy(ctx context.Context, c *call, keys *sealing.Keys, name string, old keystore.Version, v any) (keystore.Version, error) {
	value, err := keys.Encode(name, v)
	if err != nil {
		return "", err
	}
	version, err := m.store.Put(ctx, name, old, value)
	for old == "" && err == nil {
		newer, failed := m.shreddedSince(ctx, c, keys)
		if failed != nil || newer == nil {
			return version, failed
		}
		body, _ := keys.Wrote(name, value)
		keys, value = newer, newer.Authenticate(name, body)
		version, err = m.repair(ctx, name, version, value)
	}
	return version, err
}

// repair puts again what Shred may have missed. If another process has changed the item since,
// Shred did not miss it.
func (m *Manager) repair(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	version, err := m.store.Put(ctx, name, old, value)
	if errors.Is(err, keystore.ErrConflict) {
		return old, nil
	}
	return version, err
}

// A scanned key is a key as the store listed it.
type scanned struct {
	text    string // its ID
	record  *record
	home    *instanceEntry
	version keystore.Version
	value   []byte
}

// scan yields the records of all keys after an ID, except those whose instance was released. An item
// that is not a record is yielded with its error. An error without an item ends the loop.
func (m *Manager) scan(ctx context.Context, c *call, after string) iter.Seq2[*scanned, error] {
	return func(yield func(*scanned, error) bool) {
		if after != "" {
			after = keyItem(after)
		}
		for item, err := range m.store.List(ctx, keySegment, after) {
			if err != nil {
				yield(nil, c.storeFailed("", err))
				return
			}
			s, err := m.scanItem(ctx, c, item)
			if s == nil && err == nil {
				continue
			}
			if !yield(s, err) || s == nil {
				return
			}
		}
	}
}

// upToDate reads a listed key on its own if the record is older than a known one. A list may lag
// behind, so an old record in it is no sign of an attack.
func (m *Manager) upToDate(ctx context.Context, c *call, s *scanned) error {
	id := s.record.ID
	if s.record.Seq >= m.latestKeys.Before(id).Seq() {
		return nil
	}
	of := *c
	e, err := m.load(ctx, &of, id)
	if err != nil {
		return err
	}
	s.record, s.version = e.record.clone(), e.version
	return nil
}

// scanItem reads the record of a key from an item of the store. It returns nothing if the instance was
// released, the item with an error if it is not a record, or an error alone.
func (m *Manager) scanItem(ctx context.Context, c *call, item keystore.Item) (*scanned, error) {
	s := &scanned{text: strings.TrimPrefix(item.Name, keySegment), version: item.Version, value: item.Value}
	var err error
	if s.record, err = m.readRecord(ctx, c, s.text, item.Value); err == nil {
		err = m.upToDate(ctx, c, s)
	}
	switch {
	case refusedAs(err, ErrNotFound):
		return nil, nil
	case refusedAs(err, ErrTampered), refusedAs(err, ErrRoot):
		return s, err
	case err == nil:
		s.home, err = m.instanceOf(ctx, c, s.record.keys.ID())
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// recordsOf yields the records of the keys of one instance in any state, ascending by ID. An item that
// is not a record is yielded with ErrTampered. An error without an item ends the loop.
func (m *Manager) recordsOf(ctx context.Context, c *call, keys *sealing.Keys) iter.Seq2[*scanned, error] {
	return func(yield func(*scanned, error) bool) {
		for item, err := range m.store.List(ctx, keySegment, "") {
			if err != nil {
				yield(nil, c.storeFailed("", err))
				return
			}
			if named, ok := instanceNamed(item.Value); ok && named != keys.ID() {
				continue
			}
			s := &scanned{text: strings.TrimPrefix(item.Name, keySegment), version: item.Version, value: item.Value}
			if id, ok := keyid.Parse(s.text); !ok {
				err = noKeyItem(c.op)
			} else if s.record, err = m.decodeKey(ctx, c, keys, id, s.text, item.Value); err != nil && !refusedAs(err, ErrTampered) {
				yield(nil, err)
				return
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

// readRecord reads the record of the key that is listed under text. It returns ErrNotFound if the
// instance of the key was released, because only the key of the instance opens the record.
func (m *Manager) readRecord(ctx context.Context, c *call, text string, value []byte) (*record, error) {
	id, ok := keyid.Parse(text)
	if !ok {
		return nil, noKeyItem(c.op)
	}
	named, ok := instanceNamed(value)
	if !ok {
		return nil, refuse(c.op, text, ErrTampered)
	}
	of := *c
	of.keyID = text
	ie, err := m.instanceOf(ctx, &of, named)
	if err != nil {
		return nil, err
	}
	if ie.keys == nil {
		return nil, keyGone(c.op, text, true)
	}
	return m.decodeKey(ctx, &of, ie.keys, id, text, value)
}

// noKeyItem is what an item is whose name is among those of keys and no key ID: the service writes none.
func noKeyItem(op Op) error {
	return refuseBecause(op, "", ErrTampered, "an item among the keys that has no key ID for a name", nil)
}

// decodeKey reads the record of a key of an instance.
func (m *Manager) decodeKey(ctx context.Context, c *call, keys *sealing.Keys, id keyid.ID, text string, value []byte) (r *record, err error) {
	err = m.decode(ctx, c, keys, keyItem(text), value, refuse(c.op, text, ErrTampered), func(keys *sealing.Keys, value []byte) (err error) {
		r, err = decodeRecord(keys, id, text, value)
		return err
	})
	return r, err
}
