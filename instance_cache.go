package kms

import (
	"context"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

// An instanceEntry is an instance as it was read. It is never changed.
type instanceEntry struct {
	keys    *sealing.Keys // nil: its key was destroyed
	rec     instanceRecord
	version keystore.Version
	readAt  time.Time
}

// An openedInstance is the keys of an instance that this process opened.
type openedInstance struct {
	keys    *sealing.Keys
	checked atomic.Uint64 // the position of the feed at which these were last seen to be the keys
}

// keepOpened makes the keys of an instance known, and returns them.
func (m *Manager) keepOpened(keys *sealing.Keys) *sealing.Keys {
	o := &openedInstance{keys: keys}
	o.checked.Store(math.MaxUint64)
	m.opened.Store(keys.ID(), o)
	return keys
}

// areOf reports whether the keys are those, opened by this call or by another one: of the same
// generation of the instance key.
func (o *openedInstance) areOf(keys *sealing.Keys) bool {
	return o != nil && o.keys.Generation() == keys.Generation()
}

// openedOf returns what keepOpened keeps of an instance, or nil.
func (m *Manager) openedOf(id string) *openedInstance {
	if known, ok := m.opened.Load(id); ok {
		return known.(*openedInstance)
	}
	return nil
}

// instanceOf is the instance that an item of a key is authenticated by, from memory where
// that is fresh enough. The default instance never ends, so that nothing is looked up for
// its keys. Errors are what the caller is to be told of the key.
func (m *Manager) instanceOf(ctx context.Context, c *call, id string) (*instanceEntry, error) {
	if id == DefaultInstance {
		return m.home.Load(), nil
	}
	ie, err := m.freshInstance(ctx, c, id)
	if refusedAs(err, ErrNotFound) || refusedAs(err, ErrTampered) {
		// The service never removes the record of an instance, so one that is missing is another's work.
		return nil, refuseBecause(c.op, c.keyID, ErrTampered, "the record of its instance", nil)
	}
	return ie, err
}

// activeInstance is an instance that a key is to live in.
func (m *Manager) activeInstance(ctx context.Context, c *call, id string) (*instanceEntry, error) {
	if id == DefaultInstance {
		return m.home.Load(), nil
	}
	ie, err := m.freshInstance(ctx, c, id)
	if err != nil {
		return nil, err
	}
	switch ie.rec.state(c.now()) {
	case InstanceReleased:
		return nil, instanceGone(c.op, id)
	case InstanceExpired:
		return nil, newInstanceExpired(c.op, "", &ie.rec)
	}
	return ie, nil
}

// freshInstance is an instance as it stands, from memory where that is fresh enough.
func (m *Manager) freshInstance(ctx context.Context, c *call, id string) (*instanceEntry, error) {
	if err := m.instanceChanges.Follow(ctx, &c.moment); err != nil {
		return nil, c.storeFailed(c.keyID, err)
	}
	ie, ok := m.instances.Get(id)
	if ok && m.instanceChanges.Holds(&ie.readAt, &c.moment) {
		return ie, nil
	}
	return m.loadInstance(ctx, c, id)
}

// loadInstance reads an instance from the store, opens its key and keeps both.
func (m *Manager) loadInstance(ctx context.Context, c *call, id string) (*instanceEntry, error) {
	mark, sent := m.instances.Mark(id), m.clock()
	var ie *instanceEntry
	err := c.retry(ctx, c.keyID, func() error {
		rec, version, err := m.getInstance(ctx, c, id)
		if err != nil {
			return err
		}
		ie = &instanceEntry{rec: *rec, version: version, readAt: sent}
		ie.keys, err = m.openInstance(ctx, c, rec)
		return err
	})
	if err != nil {
		return nil, err
	}
	m.instances.Put(id, ie, mark)
	return ie, nil
}

// currentInstance is an instance as the store has it now.
func (m *Manager) currentInstance(ctx context.Context, c *call, id string) (*instanceEntry, error) {
	if id != DefaultInstance {
		return m.loadInstance(ctx, c, id)
	}
	home := m.home.Load()
	rec, version, err := m.getInstance(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return &instanceEntry{keys: home.keys, rec: *rec, version: version}, nil
}

// openInstance opens the key of an instance, unless it is open already. Nil: it was destroyed. It
// returns errStale if the record was replaced by RotateRoot meanwhile. What is opened for the first
// time is secured, because keys will be made in it.
func (m *Manager) openInstance(ctx context.Context, c *call, rec *instanceRecord) (*sealing.Keys, error) {
	known := m.openedOf(rec.ID)
	first := known == nil || known.keys.Generation() != rec.Generation
	if first && !rec.destroyed() {
		if err := m.secure(ctx, c, rec); err != nil {
			return nil, err
		}
	}
	return m.openKeys(c, rec)
}

// openKeys is openInstance for a record that is secured.
func (m *Manager) openKeys(c *call, rec *instanceRecord) (*sealing.Keys, error) {
	if rec.destroyed() {
		m.opened.Delete(rec.ID)
		return nil, nil
	}
	if known := m.openedOf(rec.ID); known != nil && known.keys.Generation() == rec.Generation {
		switch shredding := rec.shredding(); {
		case shredding == (known.keys.Former() != nil):
			return known.keys, nil
		case !shredding:
			return m.keepOpened(known.keys.WithFormer(nil)), nil
		}
	}
	keys, err := rec.open(c.op, m.roots())
	if err == nil {
		m.keepOpened(keys)
	}
	return keys, err
}

// getInstance reads the record of an instance from the store. One that was never made, because its
// creation lost to a rotation of the root, is not found.
func (m *Manager) getInstance(ctx context.Context, c *call, id string) (*instanceRecord, keystore.Version, error) {
	oldest := m.oldestRoot.Load()
	rec, version, err := m.storedInstance(ctx, c, id)
	if err == nil && rec.lost(oldest) {
		return nil, "", instanceNotFound(c.op, id)
	}
	return rec, version, err
}

// storedInstance is getInstance for whatever stands in the store.
func (m *Manager) storedInstance(ctx context.Context, c *call, id string) (*instanceRecord, keystore.Version, error) {
	known := m.latestInstances.Before(id)
	item, err := m.store.Get(ctx, instanceItem(id))
	rec := new(instanceRecord)
	absent := errors.Is(err, keystore.ErrNotFound)
	switch {
	case absent:
	case err != nil:
		return nil, "", c.storeFailed(c.keyID, err)
	default:
		if rec, err = m.readInstance(ctx, c, id, item.Value); err != nil {
			return nil, "", err
		}
	}
	older, err := m.latestInstances.Older(ctx, rec.Seq, known)
	switch {
	case err != nil:
		return nil, "", c.storeFailed(c.keyID, err)
	case older:
		return nil, "", tamperedInstance(c.op, id)
	case absent:
		return nil, "", instanceNotFound(c.op, id)
	}
	m.latestInstances.Saw(id, rec.Seq, known)
	m.sawRoot(rec)
	return rec, item.Version, nil
}

// sawRoot notes which roots open the store, if that is the record of the default instance.
func (m *Manager) sawRoot(rec *instanceRecord) {
	for rec.ID == DefaultInstance && !rec.destroyed() {
		known := m.oldestRoot.Load()
		if known >= rec.oldest() || m.oldestRoot.CompareAndSwap(known, rec.oldest()) {
			return
		}
	}
}

// followRoot reads which roots open the store, so that no instance is shown that was never made.
func (m *Manager) followRoot(ctx context.Context, c *call) error {
	_, _, err := m.storedInstance(ctx, c, DefaultInstance)
	return err
}

// readInstance reads the record of the instance that is listed under id.
func (m *Manager) readInstance(ctx context.Context, c *call, id string, value []byte) (*instanceRecord, error) {
	rec := new(instanceRecord)
	tampered := tamperedInstance(c.op, id)
	if err := m.readHome(ctx, c, instanceItem(id), value, rec, tampered); err != nil {
		return nil, err
	}
	if rec.ID != id || !validInstanceID(id) {
		return nil, tampered
	}
	return rec, nil
}

// nameInstance settles which instance a caller named, and asks Authorize.
func (c *call) nameInstance(ctx context.Context, id string) error {
	if !validInstanceID(id) {
		return badInstanceID(c.op)
	}
	return c.authorizeInstance(ctx, id)
}

// namedInstance is the instance that a caller named, as the store has it.
func (m *Manager) namedInstance(ctx context.Context, c *call, id string) (*instanceRecord, error) {
	if err := c.nameInstance(ctx, id); err != nil {
		return nil, err
	}
	if id != DefaultInstance {
		if err := m.followRoot(ctx, c); err != nil {
			return nil, err
		}
	}
	rec, _, err := m.getInstance(ctx, c, id)
	return rec, err
}

// updateInstance is the only way in which a call changes an instance, as update is for keys.
func (m *Manager) updateInstance(ctx context.Context, op Op, id string, bad error, change func(c *call, rec *instanceRecord) error) (_ Instance, err error) {
	c := m.begin(op)
	defer c.end(ctx, &err)
	if bad != nil {
		return Instance{}, bad
	}
	if err := c.nameInstance(ctx, id); err != nil {
		return Instance{}, err
	}
	rec, err := m.changeInstance(ctx, c, id, change)
	if err != nil {
		return Instance{}, err
	}
	return rec.describe(c.now()), nil
}

// changeInstance reads an instance that is not Released, lets change change it, and writes
// it if it is still what was read; else again from the start.
func (m *Manager) changeInstance(ctx context.Context, c *call, id string, change func(c *call, rec *instanceRecord) error) (rec *instanceRecord, err error) {
	if id != DefaultInstance {
		if err := m.followRoot(ctx, c); err != nil {
			return nil, err
		}
	}
	err = c.retry(ctx, "", func() error {
		var version keystore.Version
		if rec, version, err = m.getInstance(ctx, c, id); err != nil {
			return err
		}
		c.reread()
		if rec.state(c.now()) == InstanceReleased {
			return instanceGone(c.op, id)
		}
		before := *rec
		if err := change(c, rec); err != nil || rec.equal(&before) {
			return err
		}
		return m.writeInstance(ctx, c, rec, version)
	})
	return rec, err
}

// writeInstance puts the record of an instance with its next sequence number in place of the
// version that it was read at, or says errStale.
func (m *Manager) writeInstance(ctx context.Context, c *call, rec *instanceRecord, old keystore.Version) error {
	_, err := m.writeInstanceBy(ctx, c, m.home.Load().keys, rec, old)
	return err
}

// writeInstanceBy is writeInstance with the keys that authenticate the record.
func (m *Manager) writeInstanceBy(ctx context.Context, c *call, by *sealing.Keys, rec *instanceRecord, old keystore.Version) (keystore.Version, error) {
	rec.Seq++
	name := instanceItem(rec.ID)
	known := m.latestInstances.Before(rec.ID)
	version, err := m.putHomeBy(ctx, c, by, name, old, rec)
	if err == nil {
		m.latestInstances.Saw(rec.ID, rec.Seq, known)
	}
	m.instances.Drop(rec.ID)
	return version, written(c.op, "", err)
}

func (m *Manager) forgetInstance(name string) {
	m.instances.Drop(strings.TrimPrefix(name, instanceSegment))
}

// forgetAll drops all that is kept in memory.
func (m *Manager) forgetAll() {
	m.keys.DropAll()
	m.aliases.DropAll()
	m.instances.DropAll()
}
