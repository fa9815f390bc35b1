package kms

import (
	"context"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/provider"
)

// target finds the instance that is restored into: one that is here, or else it is made anew
// with the key that it had, so that what still stands of it in the store can be read again.
func (rs *restoring) target(ctx context.Context) error {
	m, c, was := rs.m, rs.c, &rs.backup.rec
	if was.ID == DefaultInstance {
		rs.in = m.home.Load().in
		return nil
	}
	for {
		rec, version, err := m.getInstance(ctx, c, was.ID)
		switch {
		case refusedAs(err, ErrNotFound):
			rec = &instanceRecord{}
		case err != nil:
			return err
		case rec.state(c.now()) != InstanceReleased:
			if rec.Protection != was.Protection {
				return refuseInstance(c.op, was.ID, ErrUnsupported, "the instance has keys of another protection level", nil)
			}
			rs.in, err = m.openInstance(c, rec)
			return err
		}
		if !rec.ReleasedAt.IsZero() && len(rec.Sealed) > 0 {
			return unavailableInstance(c.op, was.ID, "its keys in hardware are being destroyed", "Let Maintain finish the release first.", nil)
		}
		if err := rs.make(ctx, rec, was, version); !errors.Is(err, errStale) {
			return err
		}
		if ctx.Err() != nil {
			return unavailable(c.op, "", "", context.Cause(ctx))
		}
	}
}

// make puts the instance of the backup in the place of one that was released, or of none.
func (rs *restoring) make(ctx context.Context, old, was *instanceRecord, version keystore.Version) error {
	m, c := rs.m, rs.c
	if _, err := m.level(c.op, was.Protection); err != nil {
		return err
	}
	rec := instanceRecord{
		ID: was.ID, Store: m.home.Load().in.storeID, Seq: old.Seq, Name: was.Name, Protection: was.Protection, CreatedAt: was.CreatedAt,
		Protected: was.Protected, ProtectedWhy: was.ProtectedWhy, ExpiresAt: rs.opts.ExpiresAt.Round(0).UTC(),
	}
	if was.ExpiresAt.IsZero() || was.ExpiresAt.After(c.now()) {
		rec.ExpiresAt = was.ExpiresAt
	}
	if old.Seq > 0 {
		rec.Generation = old.Generation + 1
		rec.Restored = rec.Generation
	}
	root, err := m.current(ctx, c)
	if err != nil {
		return err
	}
	in, err := rec.setKey(c.op, root, rs.backup.instanceKey())
	if err != nil {
		return err
	}
	if err := m.writeInstance(ctx, c, &rec, version); err != nil {
		return err
	}
	m.opened.Store(rec.ID, in)
	rs.in, rs.report.Made = in, true
	return nil
}

// askHardware asks the hardware for the material of a key. That it does not have it is told; that
// it does not answer is an error.
func (rs *restoring) askHardware(ctx context.Context, r *record) error {
	if r.Protection != ProtectionHSM || r.facts().state(rs.c.now()) == Deleted {
		return nil
	}
	p := rs.m.providers[r.Protection]
	for i := range r.Versions {
		err := provider.ErrNoKey
		if p != nil {
			material, unsealed := r.in.openMaterial(r.ID, &r.Versions[i])
			if unsealed != nil {
				return errors.AssertionFailedf("kms: material that was sound")
			}
			_, err = p.Open(ctx, versionID(r, r.Versions[i].Version), r.Spec, material)
			clear(material)
		}
		switch {
		case errors.Is(err, provider.ErrNoKey):
			rs.report.Missing = append(rs.report.Missing, r.id())
			return nil
		case err != nil:
			return fromProvider(rs.c.op, r.id(), err)
		}
	}
	return nil
}
