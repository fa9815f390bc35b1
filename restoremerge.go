package kms

import (
	"crypto/subtle"
	"slices"
	"time"
)

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
	suspend := b.Disabled
	switch {
	case later && b.facts().due(now):
		suspend = true
	default:
		r.DeleteAt = earlier(r.DeleteAt, b.DeleteAt)
	}
	switch {
	case len(r.Versions) == 0:
	case len(b.Versions) == 0, later && b.facts().expired(now):
		suspend = true
	default:
		r.MaterialUntil = earlier(r.MaterialUntil, b.MaterialUntil)
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
	moved, err := b.moveTo(r.in)
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
	moved, err := b.moveTo(r.in)
	if err != nil {
		return false
	}
	r.Versions = slices.Clone(r.Versions)
	for _, v := range moved.Versions {
		at := r.version(v.Version)
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
	one, errA := r.in.openMaterial(r.ID, a)
	other, errB := r.in.openMaterial(r.ID, b)
	defer clear(one)
	defer clear(other)
	return errA == nil && errB == nil && a.CreatedAt.Equal(b.CreatedAt) && subtle.ConstantTimeCompare(one, other) == 1
}

// earlier is the first of two dates; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
