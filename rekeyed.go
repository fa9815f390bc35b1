package kms

import (
	"bytes"
	"context"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

// Shred gives an instance another key while other processes continue to work. They find out in two
// ways. An item does not authenticate under the keys that they know, so they read the record of the
// instance again. And a call that created an item checks that the key is still the same, because Shred
// may have passed that place before. A call that replaces an item needs no such check: Shred has given
// it another version.

// retryWith returns what to retry with if an item does not authenticate under the keys at hand: the
// instance's current keys, or the value that the store holds now. It returns nil if neither has
// changed. A caller that continues with a new value still has the old version, so its Put will
// conflict.
func (m *Manager) retryWith(ctx context.Context, c *call, keys *sealing.Keys, name string, value []byte) (*sealing.Keys, []byte, error) {
	newer, err := m.newer(ctx, c, keys)
	if err != nil || newer != nil {
		return newer, value, err
	}
	item, err := m.store.Get(ctx, name)
	switch {
	case errors.Is(err, keystore.ErrNotFound), err == nil && bytes.Equal(item.Value, value):
		return nil, nil, nil
	case err != nil:
		return nil, nil, c.storeFailed(c.keyID, err)
	}
	return keys, item.Value, nil
}

// newer returns the current keys of an instance if they are not the given ones, else nil.
func (m *Manager) newer(ctx context.Context, c *call, keys *sealing.Keys) (*sealing.Keys, error) {
	if keys.ID() == DefaultInstance {
		return m.newerHome(ctx, c, keys)
	}
	ie, err := m.loadInstance(ctx, c, keys.ID())
	switch {
	case refusedAs(err, ErrNotFound), refusedAs(err, ErrTampered):
		return nil, nil
	case err != nil:
		return nil, err
	case ie.keys == keys:
		return nil, nil
	}
	return ie.keys, nil
}

// newerHome is newer for the default instance, whose record is authenticated under the key that it
// holds.
func (m *Manager) newerHome(ctx context.Context, c *call, keys *sealing.Keys) (*sealing.Keys, error) {
	home := m.home.Load()
	if home.keys != keys { // another call has found them
		return home.keys, nil
	}
	known := m.latestInstances.Before(DefaultInstance)
	item, err := m.store.Get(ctx, instanceItem(DefaultInstance))
	switch {
	case errors.Is(err, keystore.ErrNotFound), err == nil && item.Version == home.version:
		return nil, nil
	case err != nil:
		return nil, c.storeFailed(c.keyID, err)
	}
	found, err := m.reopenHome(c, item, keys)
	if refusedAs(err, ErrTampered) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	older, err := m.latestInstances.Older(ctx, found.rec.Seq, known)
	if err != nil {
		return nil, c.storeFailed(c.keyID, err)
	}
	if older {
		return nil, nil
	}
	m.latestInstances.Saw(DefaultInstance, found.rec.Seq, known)
	m.settleHome(found)
	if found.keys == keys {
		return nil, nil
	}
	return found.keys, nil
}

// reopenHome opens the record of the default instance again: with the known keys, or with the root if
// the record has others.
func (m *Manager) reopenHome(c *call, item keystore.Item, keys *sealing.Keys) (*instanceEntry, error) {
	found := &instanceEntry{version: item.Version}
	if keys.Decode(instanceItem(DefaultInstance), item.Value, &found.rec) == nil {
		var err error
		found.keys, err = m.openKeys(c, &found.rec)
		return found, err
	}
	found, err := unsealHome(c.op, item, m.roots())
	if err == nil && !bytes.Equal(found.keys.StoreID(), keys.StoreID()) {
		err = tamperedInstance(c.op, DefaultInstance)
	}
	return found, err
}

// settleHome keeps what was read of the default instance, unless something later is known.
func (m *Manager) settleHome(found *instanceEntry) {
	for {
		known := m.home.Load()
		if known != nil && known.rec.Seq > found.rec.Seq {
			return
		}
		if m.home.CompareAndSwap(known, found) {
			m.keepOpened(found.keys)
			return
		}
	}
}

// shreddedSince returns the current keys of an instance if Shred may have missed what was just created
// under the given ones, else nil. On a store that one process owns it reads the record of the instance
// only if a record of an instance was replaced; on other stores it always does.
func (m *Manager) shreddedSince(ctx context.Context, c *call, keys *sealing.Keys) (*sealing.Keys, error) {
	at, owned := m.instanceChanges.Position()
	if known := m.openedOf(keys.ID()); owned && known.areOf(keys) && known.checked.Load() == at {
		return nil, nil
	}
	newer, err := m.newer(ctx, c, keys)
	if err != nil {
		return nil, err
	}
	if newer != nil && newer.Generation() != keys.Generation() {
		return newer, nil
	}
	if known := m.openedOf(keys.ID()); owned && known.areOf(keys) {
		known.checked.Store(at)
	}
	return nil, nil
}

// created writes a new key again if Shred may have missed it.
func (m *Manager) created(ctx context.Context, c *call, r *record, version keystore.Version) (keystore.Version, error) {
	for {
		newer, err := m.shreddedSince(ctx, c, r.keys)
		if err != nil || newer == nil {
			return version, err
		}
		moved, err := r.moveTo(newer)
		if err != nil {
			return version, err
		}
		name := keyItem(r.id())
		value, err := newer.Encode(name, moved)
		if err != nil { // cannot be: it is as long as what was written
			return version, errors.NewAssertionErrorWithWrappedErrf(err, "kms: a record that was moved")
		}
		*r = *moved
		if version, err = m.repair(ctx, name, version, value); err != nil {
			return version, err
		}
	}
}

// RotateRoot gives instances another root while other processes continue to work. What one of them writes
// or opens for the first time, secure sees to it that the rotation takes along.

// secure sees to it that a rotation of the root does not leave an instance behind, whose record was
// written, or was read to be used. It looks at the record of the default instance after that. If that
// tells of a rotation which may have gone past the instance, secure writes it again: the rotation
// then cannot end without another round. If the rotation has ended, the instance was never made, and
// nobody has used it. So it returns ErrRoot, or errStale if the record is another one by now.
func (m *Manager) secure(ctx context.Context, c *call, rec *instanceRecord) error {
	if rec.ID == DefaultInstance {
		return nil
	}
	replaced := false
	err := c.retry(ctx, c.keyID, func() error {
		home, version, err := m.getInstance(ctx, c, DefaultInstance)
		switch {
		case err != nil:
			return err
		case rec.Rooted >= home.newest():
			return nil
		case rec.lost(home.oldest()):
			replaced, err = m.replaced(ctx, c, rec, home)
			return err
		}
		return m.writeInstance(ctx, c, home, version)
	})
	if replaced {
		return errStale
	}
	return err
}

// replaced reports whether RotateRoot has seen an instance after all. If not, it refuses.
func (m *Manager) replaced(ctx context.Context, c *call, rec, home *instanceRecord) (bool, error) {
	stored, _, err := m.storedInstance(ctx, c, rec.ID)
	switch {
	case err != nil && !refusedAs(err, ErrNotFound):
		return false, err
	case err == nil && !stored.lost(home.oldest()):
		return true, nil
	}
	return false, &refusal{op: c.op, inst: rec.ID, cond: ErrRoot, text: "the root was rotated before the instance was made",
		hint: "Open the key store with the new root and repeat the call. The ID of the instance is free."}
}

// createInstance writes the record of a new instance, also in the place of one that was never made. It
// returns errStale if the ID is taken.
func (m *Manager) createInstance(ctx context.Context, c *call, rec, home *instanceRecord) error {
	err := m.writeInstance(ctx, c, rec, "")
	if errors.Is(err, errStale) {
		var stored *instanceRecord
		var version keystore.Version
		if stored, version, err = m.storedInstance(ctx, c, rec.ID); err != nil {
			return err
		}
		if !stored.lost(home.oldest()) || stored.Restored > 0 {
			return errStale
		}
		rec.Seq = stored.Seq
		err = m.writeInstance(ctx, c, rec, version)
	}
	if err != nil {
		return err
	}
	return m.secureNew(ctx, c, rec)
}

// secureNew is secure for an instance that was just made. It returns errStale if another call has
// made it again.
func (m *Manager) secureNew(ctx context.Context, c *call, rec *instanceRecord) error {
	err := m.secure(ctx, c, rec)
	if !errors.Is(err, errStale) {
		return err
	}
	stored, _, err := m.storedInstance(ctx, c, rec.ID)
	if err == nil && !bytes.Equal(stored.Check, rec.Check) {
		return errStale
	}
	return err // nil: RotateRoot has sealed it under the new root
}

// lostInstance is what an instance that was never made leaves to the one that is made in its place, or
// an empty record if there is none. It has no ID.
func (m *Manager) lostInstance(ctx context.Context, c *call, id string) (*instanceRecord, keystore.Version, error) {
	rec, version, err := m.storedInstance(ctx, c, id)
	if refusedAs(err, ErrNotFound) {
		return &instanceRecord{}, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	left := &instanceRecord{Seq: rec.Seq, Generation: rec.Generation}
	if rec.Restored > 0 { // it was to be what was released before it
		left.Check, left.KeyedAt, left.Mixed = rec.Check, rec.KeyedAt, rec.Mixed
		left.Protected, left.ReleaseOnly, left.ProtectedWhy, left.ExpiresAt = rec.Protected, rec.ReleaseOnly, rec.ProtectedWhy, rec.ExpiresAt
	}
	return left, version, nil
}
