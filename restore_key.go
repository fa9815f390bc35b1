package kms

import (
	"context"
	"crypto/subtle"
	"slices"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/fresh"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

// restoreKey brings back one key of the backup. It may be repeated.
func (rs *restoring) restoreKey(ctx context.Context, was *record) error {
	return rs.c.retry(ctx, was.id(), func() error {
		known := rs.m.latestKeys.Before(was.ID)
		item, err := rs.m.store.Get(ctx, keyItem(was.id()))
		switch {
		case errors.Is(err, keystore.ErrNotFound):
			err = rs.newKey(ctx, was, known)
		case err != nil:
			return rs.c.storeFailed(was.id(), err)
		default:
			err = rs.oldKey(ctx, was, item, known)
		}
		if !errors.Is(err, errStale) {
			rs.progress()
		}
		return err
	})
}

// newKey brings back a key that is not here. Where it is deleted what is left of it comes, so
// that an older backup does not bring the key.
func (rs *restoring) newKey(ctx context.Context, was *record, known fresh.Sight) error {
	if older, err := rs.older(ctx, was, 0, known); older || err != nil {
		return err
	}
	r, err := was.moveTo(rs.keys)
	if err != nil {
		return err
	}
	tomb := !r.DestroyedAt.IsZero()
	if rs.buried[r.ID] && !tomb {
		r.Versions = nil // whoever said so has destroyed them
		r.bury(rs.c.now())
	}
	gone := r.facts().state(rs.c.now()) == Deleted
	r.DueSeenAt, r.RetireSeenAt = time.Time{}, time.Time{} // by the clock of another time
	if !r.DestroyedAt.IsZero() && len(r.Doomed) == 0 {
		r.forget(r.forgotten().At) // under the instance key that there is now, for all that is known
	}
	if r.checkRoom(rs.c.op, true) != nil {
		return rs.skip(r.id(), "", SkippedTooLarge)
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
func (rs *restoring) oldKey(ctx context.Context, was *record, item keystore.Item, known fresh.Sight) error {
	if named, ok := instanceNamed(item.Value); ok && named != rs.keys.ID() {
		return rs.skip(was.id(), "", SkippedInstance)
	}
	r, err := rs.m.decodeKey(ctx, rs.c, rs.keys, was.ID, was.id(), item.Value)
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
	if merged.checkRoom(rs.c.op, false) != nil {
		return rs.skip(was.id(), "", SkippedTooLarge)
	}
	if _, err := rs.m.write(ctx, rs.c, merged, item.Version); err != nil {
		return err
	}
	rs.note(func(report *RestoreReport) { report.Merged = append(report.Merged, r.id()) })
	return nil
}

// older tells whether a record that is here was put back, or taken away, and leaves that alone.
func (rs *restoring) older(ctx context.Context, was *record, seq uint64, known fresh.Sight) (bool, error) {
	older, err := rs.m.latestKeys.Older(ctx, seq, known)
	if err != nil {
		return false, rs.c.storeFailed(was.id(), err)
	}
	if older {
		return true, rs.skip(was.id(), "", SkippedTampered)
	}
	return false, nil
}

// restoreAlias gives a key its name again, unless that names another key now.
func (rs *restoring) restoreAlias(ctx context.Context, a Alias) error {
	id, _ := keyid.Parse(a.KeyID)
	return rs.c.retry(ctx, "", func() error {
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
		if err := rs.m.writeAlias(ctx, rs.c, a.Name, current, id); err != nil {
			return err
		}
		rs.note(func(report *RestoreReport) { report.Aliases++ })
		return nil
	})
}

func (rs *restoring) skip(keyID, alias string, why SkipReason) error {
	rs.note(func(report *RestoreReport) {
		report.Skipped = append(report.Skipped, SkippedItem{KeyID: keyID, Alias: alias, Why: why})
	})
	return nil
}

// sameKind tells whether two records of one ID can be of one key.
func (r *record) sameKind(b *record) bool {
	return r.Spec == b.Spec && r.Usage == b.Usage && r.Origin == b.Origin && r.Protection == b.Protection &&
		r.Owner == b.Owner && r.Service == b.Service && r.CreatedAt.Equal(b.CreatedAt)
}

// merge makes r, a key that is here, as strict as b, the same key in a backup. It is false
// where they are not the same, for they have other material; r is of no use then.
//
// A date of b that is past takes nothing from a key that was changed here after b: the key
// would be lost by restoring an old backup. It is Disabled, until somebody looks.
func (r *record) merge(b *record, now time.Time) bool {
	sameOld := slices.EqualFunc(r.Old, b.Old, func(a, b oldVersion) bool { return a.at() == b.at() })
	if !sameOld || !r.mergeShred(b) || !r.mergeVersions(b) {
		return false
	}
	later := r.Seq > b.Seq
	if !r.mergeRetirement(b, later, now) {
		return false
	}
	suspend := b.Disabled
	switch {
	case later && b.facts().due(now):
		suspend = true
	default:
		r.DeleteAt = earliest(r.DeleteAt, b.DeleteAt)
	}
	switch {
	case len(r.Versions) == 0:
	case len(b.Versions) == 0, later && b.facts().expired(now):
		suspend = true
	default:
		r.MaterialUntil = earliest(r.MaterialUntil, b.MaterialUntil)
	}
	if suspend && !r.Disabled {
		r.Disabled, r.DisabledAt = true, now
	}
	if b.Protected && !r.Protected {
		r.Protected, r.ProtectedWhy = true, b.ProtectedWhy
	}
	for _, d := range b.Dependents {
		if !slices.ContainsFunc(r.Dependents, func(known Dependent) bool { return known.Name == d.Name }) {
			r.Dependents = append(slices.Clip(r.Dependents), d)
		}
	}
	if b.brownout(now).Share > r.brownout(now).Share {
		r.BrownShare, r.BrownUntil = b.BrownShare, b.BrownUntil
	}
	return true
}

// mergeShred sees that both are bound to the same material, if they are to any.
func (r *record) mergeShred(b *record) bool {
	switch {
	case b.Fingerprint == nil:
		return true
	case r.Fingerprint != nil: // keyed by the shred secret
		return subtle.ConstantTimeCompare(r.Fingerprint, b.Fingerprint) == 1
	}
	moved, err := b.moveTo(r.keys)
	if err != nil {
		return false
	}
	r.Shred, r.Fingerprint = moved.Shred, moved.Fingerprint
	return true
}

// mergeVersions adds the versions of b that are not here. Imported material, of which there is
// one, stays what it is here, or away: whether it is the same was told by the fingerprint.
func (r *record) mergeVersions(b *record) bool {
	if r.Origin == OriginExternal {
		return true
	}
	moved, err := b.moveTo(r.keys)
	if err != nil {
		return false
	}
	r.Versions = slices.Clone(r.Versions)
	for _, v := range moved.Versions {
		at := r.version(v.Version)
		if at < 0 && v.Version < r.RetiredBefore { // it was retired here, and stays so
			continue
		}
		if at < 0 {
			r.Versions = append(r.Versions, v)
			continue
		}
		if !r.sameMaterial(&r.Versions[at], &v) {
			return false
		}
	}
	slices.SortFunc(r.Versions, func(a, b keyVersion) int { return int(int64(a.Version) - int64(b.Version)) })
	if len(r.Versions) > 0 {
		r.Primary = r.lastVersion()
	}
	return true
}

func (r *record) sameMaterial(a, b *keyVersion) bool {
	one, errA := r.keys.Open(sealing.Material(r.ID, a.Version), a.Sealed)
	other, errB := r.keys.Open(sealing.Material(r.ID, b.Version), b.Sealed)
	defer clear(one)
	defer clear(other)
	return errA == nil && errB == nil && a.CreatedAt.Equal(b.CreatedAt) && subtle.ConstantTimeCompare(one, other) == 1
}

// moveTo returns a sound record with everything that is sealed in it sealed again, for other keys.
func (r *record) moveTo(keys *sealing.Keys) (*record, error) {
	moved := r.clone()
	moved.keys = keys
	move := func(p sealing.Place, sealed *[]byte) error { return reseal(r.keys, keys, p, sealed) }
	for _, list := range []*[]keyVersion{&moved.Versions, &moved.Doomed} {
		*list = slices.Clone(*list)
		for i := range *list {
			v := &(*list)[i]
			if err := move(sealing.Material(r.ID, v.Version), &v.Sealed); err != nil {
				return nil, err
			}
		}
	}
	moved.Old = slices.Clone(moved.Old)
	for i := range moved.Old {
		v := &moved.Old[i]
		if err := move(v.place(r.ID, i), &v.Sealed); err != nil {
			return nil, err
		}
	}
	if r.Shred != nil {
		if err := move(sealing.ShredSecret(r.ID), &moved.Shred); err != nil {
			return nil, err
		}
	}
	return moved, nil
}

// reseal seals with to what from has sealed, for the same place.
func reseal(from, to *sealing.Keys, p sealing.Place, sealed *[]byte) error {
	secret, err := from.Open(p, *sealed)
	defer clear(secret)
	if err != nil {
		return errors.AssertionFailedf("kms: what was sound in a backup does not open")
	}
	*sealed, err = to.Seal(p, secret)
	return err
}
