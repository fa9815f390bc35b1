package kms

import (
	"bytes"
	"slices"

	"github.com/keyhold/kms/legacy"
)

// What was written by an earlier version, or by a bug, is looked at once more before it is
// brought back: whatever is checked when a key is made is checked when it is restored.

// sound tells whether an instance could have been made as it stands in a backup.
func (rec *instanceRecord) sound(h *backupHeader) bool {
	const op = OpRestore // nobody sees these errors
	level := rec.Protection == ProtectionSoftware || rec.Protection == ProtectionHSM
	if rec.ID == DefaultInstance {
		level = rec.Protection == "" && rec.ExpiresAt.IsZero()
	}
	return level && rec.ID == h.Instance && bytes.Equal(rec.Store, h.Store) && len(rec.Sealed) == 0 && len(rec.Former) == 0 && rec.Generation == 0 &&
		checkText(op, rec.Name, "", MaxInstanceName) == nil && checkText(op, rec.ProtectedWhy, "", MaxDescription) == nil
}

// sound tells whether a key could have been made and changed to what its record says, and
// whether all opens that is sealed in it.
func (r *record) sound() bool {
	return r.soundFacts() && r.soundTexts() && r.soundMaterial()
}

func (r *record) soundFacts() bool {
	_, used := specs[r.Spec].use(r.Usage)
	owned := r.Service == ""
	if r.Owner == OwnerService {
		owned = validServiceCode(r.Service)
	}
	return used && r.Usage != "" && owned &&
		slices.Contains([]Origin{OriginKMS, OriginExternal}, r.Origin) &&
		slices.Contains([]Protection{ProtectionSoftware, ProtectionHSM}, r.Protection) &&
		slices.Contains([]Owner{OwnerCustomer, OwnerService}, r.Owner) &&
		checkRotation(int(r.RotationDays)) == nil && r.BrownShare <= millionths
}

func (r *record) soundTexts() bool {
	const op = OpRestore
	return checkText(op, r.Description, "", MaxDescription) == nil && checkText(op, r.ProtectedWhy, "", MaxDescription) == nil &&
		checkTags(op, r.Tags) == nil && !slices.ContainsFunc(r.Dependents, func(d Dependent) bool { return d.check(op) != nil })
}

func (r *record) soundMaterial() bool {
	for i := range r.Versions {
		if i > 0 && r.Versions[i-1].Version >= r.Versions[i].Version {
			return false
		}
	}
	if len(r.Versions) > 0 && (r.version(r.Primary) < 0 || r.version(0) >= 0 || !r.DestroyedAt.IsZero()) {
		return false
	}
	for _, list := range [][]keyVersion{r.Versions, r.Doomed} {
		for i := range list {
			material, err := r.in.openMaterial(r.ID, &list[i])
			clear(material)
			if err != nil {
				return false
			}
		}
	}
	for i := range r.Old {
		v := &r.Old[i]
		material, err := r.in.seal.Open(nil, v.Sealed, r.in.oldContext(r.ID, i, v))
		clear(material)
		if err != nil || !legacy.ValidScheme(v.Scheme) || !legacy.ValidLocator(v.Locator) {
			return false
		}
	}
	if r.Shred == nil {
		return r.Fingerprint == nil
	}
	shred, err := r.in.seal.Open(nil, r.Shred, r.in.shredContext(r.ID))
	clear(shred)
	return err == nil && len(shred) == 32 && len(r.Fingerprint) == macSize
}
