package kms

import (
	"bytes"
	"context"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

// Shred gives an instance another key while other processes work on. They learn of it in two
// ways: an item does not fit the keys that they know, and so they read the record of the
// instance once more; and whoever created something looks whether it was created under the key
// that there is, for Shred may have passed that place before. A replacement needs no such look:
// what Shred has sealed anew is at another version.

// retryWith is what an item that does not fit an instance is to be tried with next: the keys that
// the instance has by now, or what stands in its place by now; with neither it is nil. Whoever
// goes on with another value than he read has a version that is over, and will not put anything.
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

// newer is an instance with the keys that it has by now, where these are others; else nil.
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

// reopenHome opens the record of the default instance again: with the keys that are known, or
// with the root where it has others.
func (m *Manager) reopenHome(c *call, item keystore.Item, keys *sealing.Keys) (*instanceEntry, error) {
	found := &instanceEntry{version: item.Version}
	if keys.Decode(instanceItem(DefaultInstance), item.Value, &found.rec) == nil {
		var err error
		found.keys, err = m.openInstance(c, &found.rec)
		return found, err
	}
	found, err := unsealHome(c.op, item, *m.root.Load())
	if err == nil && !bytes.Equal(found.keys.StoreID(), keys.StoreID()) {
		err = tamperedInstance(c.op, DefaultInstance)
	}
	return found, err
}

// settleHome makes what was read of the default instance known, unless later is.
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

// shreddedSince is an instance with another key, where what was created just now under in may
// have been missed by Shred; else nil. On a store that one process owns this asks for the record
// of the instance if one was replaced, on others each time.
func (m *Manager) shreddedSince(ctx context.Context, c *call, keys *sealing.Keys) (*sealing.Keys, error) {
	at, owned := m.instanceChanges.Position()
	if known := m.openedOf(keys.ID()); owned && known != nil && known.keys == keys && known.checked.Load() == at {
		return nil, nil
	}
	newer, err := m.newer(ctx, c, keys)
	if err != nil {
		return nil, err
	}
	if newer != nil && newer.Generation() != keys.Generation() {
		return newer, nil
	}
	if known := m.openedOf(keys.ID()); owned && known != nil && known.keys == keys {
		known.checked.Store(at)
	}
	return nil, nil
}

// created sees to a key that was created just now.
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
		if err != nil {
			return version, err
		}
		*r = *moved
		if version, err = m.repair(ctx, name, version, value); err != nil {
			return version, err
		}
	}
}
