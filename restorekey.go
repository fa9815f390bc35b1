package kms

import (
	"context"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/keystore"
)

// restoreKey brings back one key of the backup. It may be repeated.
func (rs *restoring) restoreKey(ctx context.Context, was *record) error {
	for {
		known := rs.m.latestKeys.before(was.ID)
		item, err := rs.m.store.Get(ctx, keyItem(was.id()))
		switch {
		case errors.Is(err, keystore.ErrNotFound):
			err = rs.newKey(ctx, was, known)
		case err != nil:
			return unavailable(rs.c.op, was.id(), "the key store", err)
		default:
			err = rs.oldKey(ctx, was, item, known)
		}
		if !errors.Is(err, errStale) {
			rs.progress()
			return err
		}
		if ctx.Err() != nil {
			return unavailable(rs.c.op, was.id(), "", context.Cause(ctx))
		}
	}
}

// newKey brings back a key that is not here. Where it is deleted what is left of it comes, so
// that an older backup does not bring the key.
func (rs *restoring) newKey(ctx context.Context, was *record, known sight) error {
	if older, err := rs.older(ctx, was, 0, known); older || err != nil {
		return err
	}
	r, err := was.moveTo(rs.in)
	if err != nil {
		return err
	}
	tomb := !r.DestroyedAt.IsZero()
	if rs.buried[r.ID] && !tomb {
		r.Versions = nil // whoever said so has destroyed them
		r.bury(rs.c.now())
	}
	gone := r.facts().state(rs.c.now()) == Deleted
	r.DueSeenAt = time.Time{} // by the clock of another time
	if !r.DestroyedAt.IsZero() && len(r.Doomed) == 0 {
		r.forget(r.forgotten().At) // under the instance key that there is now, for all that is known
	}
	for i := range r.Old {
		if err := rs.m.addMaker(ctx, rs.c, r.Old[i].at(), r.ID); err != nil {
			return err
		}
	}
	if _, err := rs.m.write(ctx, rs.c, r, ""); err != nil {
		return err
	}
	switch {
	case tomb:
		rs.note(func(report *RestoreReport) { report.Tombstones++ })
	case gone:
		rs.skip(r.id(), "", SkippedDeleted)
	default:
		rs.note(func(report *RestoreReport) { report.Restored++ })
	}
	return nil
}

// oldKey makes a key that is here as strict as it is in the backup.
func (rs *restoring) oldKey(ctx context.Context, was *record, item keystore.Item, known sight) error {
	if named, ok := instanceNamed(item.Value); ok && named != rs.in.id {
		return rs.skip(was.id(), "", SkippedInstance)
	}
	r, err := rs.m.decodeKey(ctx, rs.c, rs.in, was.ID, was.id(), item.Value)
	if refusedAs(err, ErrTampered) {
		return rs.skip(was.id(), "", SkippedTampered)
	}
	if err != nil {
		return err
	}
	if older, err := rs.older(ctx, was, r.Seq, known); older || err != nil {
		return err
	}
	now := rs.c.now()
	gone, tomb := r.facts().state(now) == Deleted, !was.DestroyedAt.IsZero()
	merged := r.clone()
	switch {
	case !r.sameKind(was):
		return rs.skip(was.id(), "", SkippedOther)
	case !tomb && (gone || rs.buried[r.ID]):
		return rs.skip(was.id(), "", SkippedDeleted)
	case gone:
	case tomb:
		merged.bury(now)
	case !merged.merge(was, now):
		return rs.skip(was.id(), "", SkippedOther)
	}
	if merged.equal(r) {
		rs.note(func(report *RestoreReport) { report.Unchanged++ })
		return nil
	}
	merged.Seq = max(r.Seq, was.Seq)
	merged.settle(now)
	if _, err := rs.m.write(ctx, rs.c, merged, item.Version); err != nil {
		return err
	}
	rs.note(func(report *RestoreReport) { report.Merged = append(report.Merged, r.id()) })
	return nil
}

// older tells whether a record that is here was put back, or taken away, and leaves that alone.
func (rs *restoring) older(ctx context.Context, was *record, seq uint64, known sight) (bool, error) {
	older, err := rs.m.latestKeys.older(ctx, seq, known)
	switch {
	case err != nil:
		return false, unavailable(rs.c.op, was.id(), "the key store", err)
	case older:
		return true, rs.skip(was.id(), "", SkippedTampered)
	}
	return false, nil
}

// restoreAlias gives a key its name again, unless that names another key now.
func (rs *restoring) restoreAlias(ctx context.Context, a Alias) error {
	id, _ := parseKeyID(a.KeyID)
	for {
		current, err := rs.m.loadAlias(ctx, rs.c, a.Name)
		if refusedAs(err, ErrTampered) {
			return rs.skip(a.KeyID, a.Name, SkippedTampered)
		}
		if err != nil {
			return err
		}
		alive, err := rs.m.alive(ctx, rs.c, id)
		if err != nil {
			return err
		}
		taken, err := rs.m.alive(ctx, rs.c, current.id)
		switch {
		case err != nil:
			return err
		case !alive:
			return rs.skip(a.KeyID, a.Name, SkippedDeleted)
		case current.id == id:
			return nil
		case taken:
			return rs.skip(a.KeyID, a.Name, SkippedTaken)
		}
		err = rs.m.writeAlias(ctx, rs.c, a.Name, current, id)
		if err == nil {
			rs.note(func(report *RestoreReport) { report.Aliases++ })
		}
		if !errors.Is(err, errStale) {
			return err
		}
		if ctx.Err() != nil {
			return unavailable(rs.c.op, "", "", context.Cause(ctx))
		}
	}
}

func (rs *restoring) skip(keyID, alias string, why SkipReason) error {
	rs.note(func(report *RestoreReport) {
		report.Skipped = append(report.Skipped, SkippedItem{KeyID: keyID, Alias: alias, Why: why})
	})
	return nil
}
