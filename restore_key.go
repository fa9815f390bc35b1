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
	"github.com/keyhold/kms/provider"
)

// restoreKey brings back one key of the backup. It may be repeated.
func (rs *restoring) restoreKey(ctx context.Context, was *record) error {
	return rs.c.retry(ctx, was.id(), func() error {
		known := rs.m.latestKeys.Before(was.ID)
		item, err := rs.m.store.Get(ctx, keyItem(was.id()))
		switch {
		case errors.Is(err, keystore.ErrNotFound):
			err = rs.newKey(ctx, was, "", known)
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

// newKey brings back a key that is not here, in place of nothing or of what no key opens any more.
// Where it is deleted what is left of it comes, so that an older backup does not bring the key.
func (rs *restoring) newKey(ctx context.Context, was *record, old keystore.Version, known fresh.Sight) error {
	if old == "" {
		if older, err := rs.older(ctx, was, 0, known); older || err != nil {
			return err
		}
	}
	if why := rs.stranger(was); why != "" {
		return rs.skip(was.ID, "", why)
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
		return rs.skip(r.ID, "", SkippedTooLarge)
	}
	if err := rs.restoreCount(ctx, r.ID); err != nil { // a key is not used before its count is there
		return err
	}
	for i := range r.Old {
		if err := rs.m.addMaker(ctx, rs.c, r.Old[i].at(), r.ID); err != nil {
			return err
		}
	}
	if _, err := rs.m.write(ctx, rs.c, r, old); err != nil {
		return err
	}
	switch {
	case tomb:
		rs.note(func(report *RestoreReport) { report.Tombstones++ })
	case gone:
		return rs.skip(r.ID, "", SkippedDeleted)
	default:
		rs.note(func(report *RestoreReport) { report.Restored++ })
	}
	return nil
}

// oldKey makes a key that is here as strict as it is in the backup.
func (rs *restoring) oldKey(ctx context.Context, was *record, item keystore.Item, known fresh.Sight) error {
	if named, ok := instanceNamed(item.Value); ok && named != rs.keys.ID() {
		return rs.skip(was.ID, "", SkippedInstance)
	}
	r, err := rs.m.decodeKey(ctx, rs.c, rs.keys, was.ID, was.id(), item.Value)
	if refusedAs(err, ErrTampered) && rs.mixed {
		return rs.newKey(ctx, was, item.Version, known)
	}
	if refusedAs(err, ErrTampered) {
		return rs.skip(was.ID, "", SkippedTampered)
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
	case !tomb && (gone || rs.buried[r.ID]):
		return rs.skip(was.ID, "", SkippedDeleted)
	case !r.sameKind(was):
		return rs.skip(was.ID, "", SkippedOther)
	case gone:
	case tomb:
		merged.bury(now)
	case !merged.merge(was, now):
		return rs.skip(was.ID, "", SkippedOther)
	}
	if !gone {
		if err := rs.restoreCount(ctx, r.ID); err != nil {
			return err
		}
	}
	changed := !merged.equal(r)
	if changed {
		merged.Seq = max(r.Seq, was.Seq)
		merged.settle(now)
		if !merged.sound(&rs.backup.rec) { // no calls could have made it of the one that is here
			return rs.skip(was.ID, "", SkippedOther)
		}
		if merged.checkRoom(rs.c.op, false) != nil {
			return rs.skip(was.ID, "", SkippedTooLarge)
		}
		if _, err := rs.m.write(ctx, rs.c, merged, item.Version); err != nil {
			return err
		}
	}
	rs.note(func(report *RestoreReport) {
		switch {
		case report.Made && tomb: // it could not be read before
			report.Tombstones++
		case report.Made:
			report.Restored++
		case changed:
			report.Merged = append(report.Merged, r.id())
		default:
			report.Unchanged++
		}
	})
	return nil
}

// restoreCount sees that no version of a key is counted lower than in the backup.
func (rs *restoring) restoreCount(ctx context.Context, id keyid.ID) error {
	m, c, was := rs.m, rs.c, rs.counts[id]
	if was == nil {
		return nil
	}
	return c.retry(ctx, "", func() error {
		rec, version, err := m.loadAllowance(ctx, c, id)
		if refusedAs(err, ErrTampered) {
			return nil // the key encrypts nothing here
		}
		if err != nil {
			return err
		}
		higher := false
		for v, n := range was.Versions {
			if n > rec.Versions[v] {
				rec.Versions[v], higher = n, true
			}
		}
		if !higher {
			return nil
		}
		return written(c.op, id.String(), m.putAllowance(ctx, c, rec, version))
	})
}

// older tells whether a record that is here was put back, or taken away, and leaves that alone.
func (rs *restoring) older(ctx context.Context, was *record, seq uint64, known fresh.Sight) (bool, error) {
	older, err := rs.m.latestKeys.Older(ctx, seq, known)
	if err != nil {
		return false, rs.c.storeFailed(was.id(), err)
	}
	if older {
		return true, rs.skip(was.ID, "", SkippedTampered)
	}
	return false, nil
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
	later := r.Seq > b.Seq
	sameOld := slices.EqualFunc(r.Old, b.Old, func(a, b oldVersion) bool { return a.at() == b.at() })
	if !sameOld || !r.mergeShred(b) || !r.mergeVersions(b, later) {
		return false
	}
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
	for _, d := range b.Dependents { // a key that has as many as it may have is guarded
		if len(r.Dependents) < MaxDependents && !slices.ContainsFunc(r.Dependents, func(known Dependent) bool { return known.Name == d.Name }) {
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

// mergeVersions adds the versions of b that are not here: they open what they encrypted. Which one
// encrypts is not changed by b if the key is later here. Imported material, of which there is
// one, stays what it is here, or away: whether it is the same was told by the fingerprint.
func (r *record) mergeVersions(b *record, later bool) bool {
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
	if !later {
		r.Primary = max(r.Primary, b.Primary)
	}
	return len(r.Versions) <= maxKeyVersions
}

func (r *record) sameMaterial(a, b *keyVersion) bool {
	one, errA := r.keys.Open(sealing.Material(r.ID, a.Version), a.Sealed)
	other, errB := r.keys.Open(sealing.Material(r.ID, b.Version), b.Sealed)
	defer clear(one)
	defer clear(other)
	return errA == nil && errB == nil && a.CreatedAt.Equal(b.CreatedAt) && subtle.ConstantTimeCompare(one, other) == 1
}

// askProvider asks the provider of a key for its material. Material that is in no hardware is the
// key itself, and has to be one. That the hardware does not have it is reported; that it does not answer is
// an error.
func (rs *restoring) askProvider(ctx context.Context, r *record) error {
	p := rs.m.providers[r.Protection]
	hardware := r.Protection == ProtectionHSM
	if r.facts().state(rs.c.now()) == Deleted || (p == nil && !hardware) {
		return nil
	}
	for i := range r.Versions {
		err := provider.ErrNoKey
		if p != nil {
			material, unsealed := r.keys.Open(sealing.Material(r.ID, r.Versions[i].Version), r.Versions[i].Sealed)
			if unsealed != nil {
				return errors.AssertionFailedf("kms: material that was sound")
			}
			_, err = p.Open(ctx, versionID(r, r.Versions[i].Version), r.Spec, material)
			clear(material)
		}
		switch {
		case hardware && (errors.Is(err, provider.ErrNoKey) || errors.Is(err, provider.ErrElsewhere)):
			rs.note(func(report *RestoreReport) { report.Missing = append(report.Missing, r.id()) })
			return nil
		case errors.Is(err, provider.ErrNoKey):
			return badBackup(rs.c.op, rs.header.Instance, "the material of the key "+r.id(), nil)
		case errors.Is(err, provider.ErrUnsupported) && !hardware: // it is a key, and is not used here
		case err != nil:
			return fromProvider(rs.c.op, r.id(), err)
		}
	}
	return nil
}

// SkippedItem is a key or an alias that a Restore did not bring back.
type SkippedItem struct {
	KeyID string
	Alias string // "": it is the key itself
	Why   SkipReason
}

// SkipReason says why.
type SkipReason string

// The reasons.
const (
	SkippedDeleted  SkipReason = "Deleted"       // the key is deleted: its date has passed, or there is a tombstone
	SkippedOther    SkipReason = "OtherKey"      // a key of that ID is here, and it is not this one: other material, another kind
	SkippedInstance SkipReason = "OtherInstance" // a key of that ID is here, in another instance
	SkippedTampered SkipReason = "Tampered"      // what is here in its place was changed behind the service's back
	SkippedTaken    SkipReason = "AliasTaken"    // the alias names another key here, or the ID is kept for the key of an alias
	SkippedDenied   SkipReason = "Denied"        // Config.Authorize refused to create the alias
	SkippedTooLarge SkipReason = "TooLarge"      // it is more than a record holds, with what is here: that stays as it is
)
