package kms

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"hash"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

// ReleaseOptions may be nil. The zero value of each field is its default.
type ReleaseOptions struct {
	Force bool // release without asking for a backup, and without asking Config.OnRelease
}

// ReleaseInstance ends an instance at once: its key is destroyed, and so by one write all its
// keys are gone and everything encrypted under them is unreadable. Nothing brings them back
// but a backup, with Restore.
//
// Deletion protection must be off (ErrProtected). Config.OnRelease is asked first, and then
// there must be a backup in which every key of the instance is as it is now (ErrNoBackup);
// a change that is made while this looks may be lost. With Force neither is asked for. The
// default instance is not released (ErrUnsupported).
//
// Keys in hardware are destroyed there, each by itself. Where the hardware cannot be reached
// that is ErrUnavailable, and the instance is released nonetheless: Maintain finishes. A Manager
// that has no hardware does not release them (ErrUnsupported).
func (m *Manager) ReleaseInstance(ctx context.Context, id string, opts *ReleaseOptions) (released Instance, err error) {
	c := m.begin(OpReleaseInstance)
	defer c.end(ctx, &err)
	rec, err := m.namedInstance(ctx, c, id)
	if err != nil {
		return Instance{}, err
	}
	if err := m.releasable(c, rec); err != nil {
		return Instance{}, err
	}
	forced := opts != nil && opts.Force
	if !forced {
		if err := m.askOnRelease(ctx, c, rec); err != nil {
			return Instance{}, err
		}
	}
	err = c.retry(ctx, "", func() error {
		rec, version, err := m.getInstance(ctx, c, id)
		if err != nil {
			return err
		}
		c.reread()
		if err := m.releasable(c, rec); err != nil {
			return err
		}
		if !forced {
			if err := m.checkBackup(ctx, c, rec); err != nil {
				return err
			}
		}
		err = m.release(ctx, c, rec, version)
		if !errors.Is(err, errStale) { // it is released, if only in part
			released = rec.describe(c.now())
		}
		return err
	})
	return released, err
}

// releasable refuses to release an instance by hand.
func (m *Manager) releasable(c *call, rec *instanceRecord) error {
	switch {
	case rec.ID == DefaultInstance:
		return &refusal{op: c.op, inst: rec.ID, cond: ErrUnsupported, text: "the default instance is never released",
			hint: "Delete its keys one by one with ScheduleKeyDeletion. To be able to release keys together, create them in an instance of their own."}
	case rec.state(c.now()) == InstanceReleased:
		return instanceGone(c.op, rec.ID)
	case rec.Protected:
		return newProtectedInstance(c.op, rec)
	case rec.Protection == ProtectionHSM && m.providers[ProtectionHSM] == nil:
		return &refusal{op: c.op, inst: rec.ID, cond: ErrUnsupported, text: "its keys are in hardware, and the Manager has none",
			hint: "Open the Manager with the hardware in Config.HSM, so that the keys can be destroyed there."}
	}
	return nil
}

// askOnRelease lets the program do what it wants done before an instance is released.
func (m *Manager) askOnRelease(ctx context.Context, c *call, rec *instanceRecord) error {
	if m.onRelease == nil {
		return nil
	}
	if err := m.onRelease(ctx, m, rec.describe(c.now())); err != nil {
		return unavailableInstance(c.op, rec.ID, "Config.OnRelease",
			"The instance is not released before Config.OnRelease succeeds. See to what it failed at, then try again.", err)
	}
	return nil
}

// checkBackup refuses where no backup holds every key of an instance as it is.
func (m *Manager) checkBackup(ctx context.Context, c *call, rec *instanceRecord) error {
	if rec.Backup == nil {
		return refuseInstance(c.op, rec.ID, ErrNoBackup, "there is none", nil)
	}
	keys, err := m.openInstance(c, rec)
	if err != nil {
		return err
	}
	digest, err := m.instanceDigest(ctx, c, keys)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(digest, rec.Backup.Digest) != 1 {
		return refuseInstance(c.op, rec.ID, ErrNoBackup, "a key was changed after the last, of "+instant(rec.Backup.At), nil)
	}
	return nil
}

// release makes an instance Released. In software that is all: the one write destroys the
// key. Keys in hardware have to be destroyed first, for which the key is needed.
func (m *Manager) release(ctx context.Context, c *call, rec *instanceRecord, version keystore.Version) error {
	if rec.ReleasedAt.IsZero() {
		rec.ReleasedAt = c.now()
	}
	if rec.Protection == ProtectionHSM {
		if err := m.writeInstance(ctx, c, rec, version); err != nil {
			return err
		}
		return m.finishRelease(ctx, c, rec.ID)
	}
	return m.destroyInstanceKey(ctx, c, rec, version)
}

// finishRelease destroys the keys in hardware of an instance that was released, and then its
// instance key; from the start again where somebody else wrote one of the records meanwhile.
func (m *Manager) finishRelease(ctx context.Context, c *call, id string) error {
	return c.retry(ctx, "", func() error {
		rec, version, err := m.getInstance(ctx, c, id)
		if err != nil || len(rec.Sealed) == 0 || rec.ReleasedAt.IsZero() { // done by another, or undone
			return err
		}
		if err := m.destroyAll(ctx, c, id); err != nil {
			return err
		}
		return m.destroyInstanceKey(ctx, c, rec, version)
	})
}

// destroyInstanceKey writes the record of an instance without its key.
func (m *Manager) destroyInstanceKey(ctx context.Context, c *call, rec *instanceRecord, version keystore.Version) error {
	rec.Sealed, rec.Former = nil, nil
	if err := m.writeInstance(ctx, c, rec, version); err != nil {
		return err
	}
	m.forgetReleased(rec.ID)
	return nil
}

// destroyAll has the provider destroy every key of an instance, and leaves tombstones.
func (m *Manager) destroyAll(ctx context.Context, c *call, id string) error {
	for item, err := range m.scan(ctx, c, "") {
		switch {
		case item == nil, refusedAs(err, ErrRoot): // it may be a key of this instance
			return err
		case err != nil || item.record.keys.ID() != id:
			continue
		}
		r, version := item.record, item.version
		if r.DestroyedAt.IsZero() {
			r.bury(c.now())
			if version, err = m.write(ctx, c, r, version); err != nil {
				return err
			}
		}
		if len(r.Doomed) > 0 {
			if err := m.destroy(ctx, c, r, version, &Report{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// forgetReleased drops what this process knows of an instance whose key was destroyed.
func (m *Manager) forgetReleased(id string) {
	m.opened.Delete(id)
	m.keys.DropAll()
}

// A digest is over the records of the keys of an instance, in the order of their IDs: two are
// equal if and only if every key is as it was.
type digest struct{ hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) add(text string, value []byte) {
	mac := sealing.MAC(value)
	d.Write(sealing.Join([]byte(text), mac[:]))
}

// instanceDigest is that of an instance as it stands.
func (m *Manager) instanceDigest(ctx context.Context, c *call, keys *sealing.Keys) ([]byte, error) {
	d := newDigest()
	for s, err := range m.recordsOf(ctx, c, keys) {
		switch {
		case s == nil:
			return nil, err
		case err == nil:
			d.add(s.text, s.value)
		}
	}
	return d.Sum(nil), nil
}
