package kms

import (
	"context"
	"crypto/subtle"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/keystore"
)

// ReleaseOptions may be nil. The zero value of each field is its default.
type ReleaseOptions struct {
	// Force releases in spite of the protection and the dependents of its keys, without asking for
	// a backup, and without asking Config.OnRelease. It does not override the instance's own
	// protection.
	Force  bool
	Reason string // up to 8192 characters; needed with Force, else ErrInvalid. Instance.ReleasedWhy and Event show it
}

// ReleaseInstance ends an instance at once: its key is destroyed, and so by one write all its
// keys are gone and everything encrypted under them is unreadable. Nothing brings them back
// but a backup, with Restore.
//
// Deletion protection of the instance must be off (ErrProtected). None of its keys may be protected
// (ErrProtected) or have dependents (ErrInUse), and there must be a backup in which the instance, every
// key and every alias is as it is now (ErrNoBackup; the counts of hardware keys, which change with use,
// need not be): all that stands in the way is in one error.
// Config.OnRelease is asked before there has to be a backup. A change that is made while this looks
// may be lost. With Force the keys, a backup and OnRelease are not asked. The default instance is
// not released (ErrUnsupported). PlanRelease says all that beforehand, and ReleaseReceipt
// afterwards how far the keys are gone.
//
// Keys in hardware are destroyed there, each by itself. Where the hardware cannot be reached
// that is ErrUnavailable, and the instance is released nonetheless: Maintain finishes. A Manager
// that has no hardware does not release them (ErrUnsupported).
func (m *Manager) ReleaseInstance(ctx context.Context, id string, opts *ReleaseOptions) (released Instance, err error) {
	c := m.begin(OpReleaseInstance)
	defer c.end(ctx, &err)
	var o ReleaseOptions
	if opts != nil {
		o = *opts
	}
	if err := checkForce(c.op, o.Force, o.Reason); err != nil {
		return Instance{}, err
	}
	c.reason = o.Reason
	rec, err := m.namedInstance(ctx, c, id)
	if err != nil {
		return Instance{}, err
	}
	if err := m.releasable(c, rec); err != nil {
		return Instance{}, err
	}
	if !o.Force && m.onRelease != nil { // which may make the backup
		if err := m.blockRelease(ctx, c, rec, false); err != nil {
			return Instance{}, err
		}
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
		if !o.Force {
			if err := m.blockRelease(ctx, c, rec, true); err != nil {
				return err
			}
		}
		rec.ReleasedWhy = o.Reason
		err = m.release(ctx, c, rec, version, &Report{})
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
	case rec.Protection == ProtectionHSM && m.providers[ProtectionHSM] == nil:
		return &refusal{op: c.op, inst: rec.ID, cond: ErrUnsupported, text: "its keys are in hardware, and the Manager has none",
			hint: "Open the Manager with the hardware in Config.HSM, so that the keys can be destroyed there."}
	case rec.Protected:
		return newProtectedInstance(c.op, rec)
	}
	return nil
}

// blockRelease refuses what only Force does. One error holds all that stands in the way.
func (m *Manager) blockRelease(ctx context.Context, c *call, rec *instanceRecord, backedUp bool) error {
	blockers, err := m.releaseBlockers(ctx, c, rec, backedUp)
	if err != nil {
		return err
	}
	return blockedInstance(c.op, rec.ID, blockers)
}

// releaseBlockers is what stands in the way of a release without Force: keys that are protected,
// keys with dependents, and where that is asked for the want of a backup.
func (m *Manager) releaseBlockers(ctx context.Context, c *call, rec *instanceRecord, backedUp bool) ([]error, error) {
	s, err := m.survey(ctx, c, rec, nil)
	if err != nil {
		return nil, err
	}
	blockers := s.blockers(c.op, rec.ID)
	if backedUp {
		switch err := m.checkBackup(ctx, c, rec); {
		case refusedAs(err, ErrNoBackup):
			blockers = append(blockers, err)
		case err != nil:
			return nil, err
		}
	}
	return blockers, nil
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

// checkBackup refuses where no backup holds an instance, its keys and their aliases as they are.
func (m *Manager) checkBackup(ctx context.Context, c *call, rec *instanceRecord) error {
	if rec.Backup == nil {
		return refuseInstance(c.op, rec.ID, ErrNoBackup, "there is none", nil)
	}
	digest, err := m.backupDigest(ctx, c, rec)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(digest, rec.Backup.Digest) != 1 {
		return refuseInstance(c.op, rec.ID, ErrNoBackup, "the instance, a key or an alias was changed after the last, of "+instant(rec.Backup.At), nil)
	}
	return nil
}

// release makes an instance Released. In software that is all: the one write destroys the
// key. Keys in hardware have to be destroyed first, for which the key is needed.
func (m *Manager) release(ctx context.Context, c *call, rec *instanceRecord, version keystore.Version, report *Report) error {
	if rec.ReleasedAt.IsZero() {
		rec.ReleasedAt = c.now()
	}
	if rec.Protection == ProtectionHSM {
		if err := m.writeInstance(ctx, c, rec, version); err != nil {
			return err
		}
		return m.finishRelease(ctx, c, rec.ID, report)
	}
	return m.destroyInstanceKey(ctx, c, rec, version, report)
}

// finishRelease destroys the keys in hardware of an instance that was released, and then its
// instance key; from the start again where somebody else wrote one of the records meanwhile.
func (m *Manager) finishRelease(ctx context.Context, c *call, id string, report *Report) error {
	return c.retry(ctx, "", func() error {
		rec, version, err := m.getInstance(ctx, c, id)
		if err != nil || rec.destroyed() || rec.ReleasedAt.IsZero() { // done by another, or undone
			return err
		}
		if err := m.destroyAll(ctx, c, id, report); err != nil {
			return err
		}
		return m.destroyInstanceKey(ctx, c, rec, version, report)
	})
}

// destroyInstanceKey writes the record of an instance without its key.
func (m *Manager) destroyInstanceKey(ctx context.Context, c *call, rec *instanceRecord, version keystore.Version, report *Report) error {
	rec.SealedBy, rec.Mixed = rec.newest(), rec.Mixed || rec.shredding()
	rec.Seals = nil
	if err := m.instanceStep(ctx, c, rec, version, StepReleased, report); err != nil {
		return err
	}
	m.forgetReleased(rec.ID)
	return nil
}

// destroyAll has the provider destroy every key of an instance, and leaves tombstones.
func (m *Manager) destroyAll(ctx context.Context, c *call, id string, report *Report) error {
	for item, err := range m.scan(ctx, c, "") {
		switch {
		case item == nil:
			return err
		case refusedAs(err, ErrRoot): // it may be a key of this instance
			if named, ok := instanceNamed(item.value); ok && named != id {
				continue
			}
			return err
		case err != nil || item.record.keys.ID() != id:
			continue
		}
		r, version := item.record, item.version
		if r.DestroyedAt.IsZero() {
			if r.bury(c.now()); len(r.Doomed) == 0 {
				err = m.tryStep(ctx, c, r, version, StepPurged, report)
			} else {
				version, err = m.write(ctx, c, r, version)
			}
			if err != nil {
				return err
			}
		}
		if len(r.Doomed) > 0 {
			if err := m.destroy(ctx, c, r, version, report); err != nil {
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
