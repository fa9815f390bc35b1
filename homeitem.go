package kms

import (
	"context"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/keystore"
)

// homeSegments are the segments whose items the default instance authenticates, whichever
// instance they are about. What is in them holds no secret. Shred goes through them. The due
// index is names alone, and needs it not.
var homeSegments = []string{instanceSegment, aliasSegment, usageSegment, allowanceSegment, legacySegment, maintainSegment}

// readHome fills v from an item that the default instance authenticates, or says tampered.
// Another process may have shredded it: what does not fit is looked at with the keys that it has
// by now.
func (m *Manager) readHome(ctx context.Context, c *call, name string, value []byte, v any, tampered error) error {
	for in := m.home.Load().in; in.decodeItem(name, value, v) != nil; {
		var err error
		if in, value, err = m.again(ctx, c, in, name, value); err != nil || in == nil {
			if err == nil {
				err = tampered
			}
			return err
		}
	}
	return nil
}

// getHome fills v from an item of the store that the default instance authenticates, or says
// tampered. Where there is no such item it leaves v alone, and the version is "". Errors name the
// key that the item is about, if it is about one.
func (m *Manager) getHome(ctx context.Context, c *call, name, keyID string, v any, tampered error) (keystore.Version, error) {
	item, err := m.store.Get(ctx, name)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return "", nil
	case err != nil:
		return "", unavailable(c.op, keyID, "the key store", err)
	}
	return item.Version, m.readHome(ctx, c, name, item.Value, v, tampered)
}

// putHome puts an item that in, the default instance, has authenticated. Its errors are those of
// the store.
func (m *Manager) putHome(ctx context.Context, c *call, in *instance, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	version, err := m.store.Put(ctx, name, old, value)
	for old == "" && err == nil {
		newer, failed := m.shreddedSince(ctx, c, in)
		if failed != nil || newer == nil {
			return version, failed
		}
		body, _ := in.wrote(name, value)
		in, value = newer, newer.authenticate(name, body)
		version, err = m.repair(ctx, name, version, value)
	}
	return version, err
}

// repair puts again what Shred may have missed. Where somebody else was quicker it was not.
func (m *Manager) repair(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	version, err := m.store.Put(ctx, name, old, value)
	if errors.Is(err, keystore.ErrConflict) {
		return old, nil
	}
	return version, err
}
