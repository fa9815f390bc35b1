package kms

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/legacy"
)

// Whoever holds the recipient of a backup can make one of anything. So everything in it is held to
// what calls of the API could have made, by the checks that those calls make. What is wrong whatever
// the key store holds is ErrBackup, here, before anything is written. What depends on the key store
// that is restored into is skipped with a reason: see restore_key.go.

// maxSeq bounds the sequence number of a record. No key is changed so often.
const maxSeq = 1 << 62

// lasting is what a backup holds of an instance besides its key: what callers chose.
func (rec *instanceRecord) lasting() instanceRecord {
	return instanceRecord{
		ID: rec.ID, Store: rec.Store, CreatedAt: rec.CreatedAt, Name: rec.Name, Protection: rec.Protection,
		ExpiresAt: rec.ExpiresAt, Protected: rec.Protected, ProtectedWhy: rec.ProtectedWhy, ReleaseOnly: rec.ReleaseOnly,
	}
}

// sound reports whether an instance could have been made as it stands in a backup.
func (rec *instanceRecord) sound(h *backupHeader) bool {
	const op = OpRestore // nobody sees these errors
	lasting := rec.lasting()
	level := rec.Protection == ProtectionSoftware || rec.Protection == ProtectionHSM
	if rec.ID == DefaultInstance {
		level = rec.Protection == "" && rec.ExpiresAt.IsZero() && rec.Name == ""
	}
	guards := !rec.ReleaseOnly || (rec.Protected && rec.ID != DefaultInstance)
	return level && guards && rec.equal(&lasting) && rec.ID == h.Instance && bytes.Equal(rec.Store, h.Store) && !rec.CreatedAt.IsZero() &&
		checkText(op, rec.Name, "", MaxInstanceName) == nil && soundWhy(rec.Protected, rec.ProtectedWhy)
}

// soundWhy reports whether that can be the reason of a deletion protection.
func soundWhy(protected bool, why string) bool {
	return (protected || why == "") && checkText(OpRestore, why, "", MaxDescription) == nil
}

// sound reports whether a key of an instance could have been made and changed to what its record
// says, and whether everything opens that is sealed in it.
func (r *record) sound(in *instanceRecord) bool {
	if !r.soundKind(in) || r.Seq == 0 || r.Seq > maxSeq || r.CreatedAt.IsZero() || (r.DeleteAt.IsZero() && !r.DueSeenAt.IsZero()) {
		return false
	}
	if !r.DestroyedAt.IsZero() {
		return r.soundTombstone() && r.opens()
	}
	return r.Forgotten == nil && r.Was == nil && !r.Bare && !r.Elsewhere && r.soundFacts() && r.soundTexts() && r.soundVersions() && r.soundRetirement() && r.soundOld() && r.soundBinding() &&
		r.soundService() && r.opens()
}

// soundKind is about what a key is for ever.
func (r *record) soundKind(in *instanceRecord) bool {
	row, known := specs[r.Spec]
	_, used := row.use(r.Usage)
	owned := r.Owner == OwnerCustomer && r.Service == "" ||
		r.Owner == OwnerService && in.ID == DefaultInstance && validServiceCode(r.Service)
	origin := r.Origin == OriginKMS || r.Origin == OriginExternal && row.imports()
	level := slices.Contains([]Protection{ProtectionSoftware, ProtectionHSM}, r.Protection) && row.livesIn(r.Protection) &&
		(in.Protection == "" || in.Protection == r.Protection)
	return known && used && r.Usage != "" && owned && origin && level
}

// soundTombstone reports whether the record is what bury leaves.
func (r *record) soundTombstone() bool {
	left := r.clone()
	left.bury(r.DestroyedAt)
	left.Forgotten, left.Was = r.Forgotten, r.Was
	return r.equal(left) && (r.Forgotten == nil || len(r.Doomed) == 0) && (r.Was == nil || r.Was.sound())
}

// soundFacts is about what calls and the clock decide.
func (r *record) soundFacts() bool {
	return (r.Disabled || r.DisabledAt.IsZero()) &&
		(r.Disabled || r.DeleteAt.IsZero() || r.Origin == OriginExternal) && // what has material is disabled first
		(r.MaterialUntil.IsZero() || r.Origin == OriginExternal && len(r.Versions) > 0) &&
		checkRotation(int(r.RotationDays)) == nil && (r.RotationDays == 0 || r.takes(OpUpdateRotationPolicy)) &&
		r.BrownShare <= millionths && (r.BrownShare == 0) == r.BrownUntil.IsZero()
}

// takes reports whether an operation is one for keys of that kind.
func (r *record) takes(op Op) bool {
	row := &lifecycle[op]
	return (row.origin == "" || row.origin == r.Origin) && (row.needs == 0 || r.purpose()&row.needs != 0)
}

func (r *record) soundTexts() bool {
	const op = OpRestore
	names := map[string]bool{}
	for _, d := range r.Dependents {
		if d.check(op) != nil || names[d.Name] {
			return false
		}
		names[d.Name] = true
	}
	return checkText(op, r.Description, "", MaxDescription) == nil && soundWhy(r.Protected, r.ProtectedWhy) &&
		checkTags(op, r.Tags) == nil && len(r.Dependents) <= MaxDependents
}

// soundVersions is about the numbers of versions. Imported material is version 1, and the only one.
func (r *record) soundVersions() bool {
	n := len(r.Versions)
	switch {
	case n > maxKeyVersions, n > 1 && !r.takes(OpRotateKey), n == 0 && r.Origin == OriginKMS, n > 0 && r.version(r.Primary) < 0:
		return false
	case r.Origin == OriginExternal && (r.Primary > 1 || r.lastVersion() > 1):
		return false
	}
	ascending := slices.IsSortedFunc(r.Versions, func(a, b keyVersion) int {
		if a.Version < b.Version {
			return -1
		}
		return 1
	})
	odd := func(v keyVersion) bool { return v.Version == 0 || v.CreatedAt.IsZero() }
	return ascending && !slices.ContainsFunc(r.Versions, odd) && !slices.ContainsFunc(r.Doomed, odd)
}

// soundRetirement is about versions that were given up, or are to be: the primary is never among them.
func (r *record) soundRetirement() bool {
	if r.RunsOutTold && !r.takes(OpUpdateRotationPolicy) {
		return false
	}
	if r.RetiredBefore == 0 && r.RetiringBefore == 0 {
		return r.RetireAt.IsZero() && r.RetireSeenAt.IsZero() && r.RetireWhy == ""
	}
	if !r.takes(OpRetireKeyVersions) || len(r.Versions) == 0 || max(r.RetiredBefore, r.RetiringBefore) > r.Primary {
		return false
	}
	gone := r.RetiredBefore == 0 || (r.RetiredBefore > 1 && r.Versions[0].Version >= r.RetiredBefore)
	if r.RetiringBefore == 0 {
		return gone && r.RetireAt.IsZero() && r.RetireSeenAt.IsZero() && r.RetireWhy == ""
	}
	return gone && r.RetiringBefore > r.Versions[0].Version && !r.RetireAt.IsZero() && checkText(OpRestore, r.RetireWhy, "", MaxDependent) == nil
}

// soundOld is about the life of a key in another system: only keys of one kind are taken over.
func (r *record) soundOld() bool {
	if len(r.Old) == 0 {
		return true
	}
	for _, v := range r.Old {
		if !legacy.ValidScheme(v.Scheme) || !legacy.ValidLocator(v.Locator) || len(v.Sealed) == 0 {
			return false
		}
	}
	return r.Owner == OwnerCustomer && r.Spec == SpecAES256 && r.Origin == OriginKMS && r.oldData() <= maxOld
}

// soundBinding is about what imported material is bound by.
func (r *record) soundBinding() bool {
	if r.Shred == nil {
		return r.Fingerprint == nil && (r.Origin == OriginKMS || len(r.Versions) == 0)
	}
	return r.Origin == OriginExternal && len(r.Fingerprint) == sealing.MACSize
}

// soundService reports whether the key of a service is one that its view could have made: no other
// call changes it.
func (r *record) soundService() bool {
	if r.Owner != OwnerService {
		return true
	}
	return r.Spec == SpecAES256 && r.Origin == OriginKMS && r.Description == serviceKey(r.Service).description &&
		len(r.Tags) == 0 && len(r.Dependents) == 0 && !r.Protected && r.BrownShare == 0
}

// opens reports whether everything opens that is sealed in a record.
func (r *record) opens() bool {
	opens := func(p sealing.Place, sealed []byte) bool {
		secret, err := r.keys.Open(p, sealed)
		defer clear(secret)
		return err == nil && len(secret) > 0
	}
	for _, list := range [][]keyVersion{r.Versions, r.Doomed} {
		for i := range list {
			if !opens(sealing.Material(r.ID, list[i].Version), list[i].Sealed) {
				return false
			}
		}
	}
	for i := range r.Old {
		if !opens(r.Old[i].place(r.ID, i), r.Old[i].Sealed) {
			return false
		}
	}
	if r.Shred == nil {
		return true
	}
	shred, err := r.keys.Open(sealing.ShredSecret(r.ID), r.Shred)
	defer clear(shred)
	return err == nil && len(shred) == 32
}

// A counted key is one whose encryptions a backup counts, up to that version.
type counted struct {
	key  keyid.ID
	last uint32
}

func (a *allowanceRecord) counted() counted {
	c := counted{key: a.Key}
	for v := range a.Versions {
		c.last = max(c.last, v)
	}
	return c
}

// sound reports whether encryptions could have been handed out so.
func (a *allowanceRecord) sound() bool {
	for v, n := range a.Versions {
		if v == 0 || n > MaxHSMUses {
			return false
		}
	}
	return a.Key != (keyid.ID{}) && a.Seq > 0 && len(a.Versions) > 0 && len(a.Versions) <= maxKeyVersions
}

// encrypted reports whether a key can have encryptions that are counted, up to that version.
func (r *record) encrypted(last uint32) bool {
	return r.Protection == ProtectionHSM && r.takes(OpEncrypt) && (len(r.Versions) == 0 || last <= r.lastVersion())
}

// A namedAs is an alias that only this service gives, and whose key it may name.
type namedAs struct {
	alias   string
	service string // ""
}

// readNamed reads what the aliases name that only this service gives. The key of one may not have
// been made yet.
func (rs *restoring) readNamed(ctx context.Context) error {
	m, c := rs.m, rs.c
	rs.named = map[keyid.ID]namedAs{}
	current, err := m.loadAlias(ctx, c, DefaultKey)
	switch {
	case err != nil && !refusedAs(err, ErrTampered):
		return err
	case err == nil && current.id != (keyid.ID{}):
		rs.named[current.id] = namedAs{alias: DefaultKey}
	}
	for item, err := range m.store.List(ctx, serviceAliases, "") {
		if err != nil {
			return c.storeFailed("", err)
		}
		a, err := m.readAlias(ctx, c, item)
		if err == nil && a.id != (keyid.ID{}) {
			rs.named[a.id] = namedAs{alias: item.Name, service: strings.TrimPrefix(item.Name, serviceAliases)}
		} else if err != nil && !refusedAs(err, ErrTampered) {
			return err
		}
	}
	return nil
}

// stranger is why a key of the backup that is not here is not the one that is known by its ID: a key
// of another system, or one that is yet to be made for an alias.
func (rs *restoring) stranger(was *record) SkipReason {
	if known := rs.m.legacy.keys[was.ID]; known != nil && !known.made(was) {
		return SkippedOther
	}
	n, named := rs.named[was.ID]
	switch {
	case !named:
	case n.service != was.Service, checkName(rs.c.op, n.alias, rs.keys.ID(), n.service) != nil:
		return SkippedTaken
	}
	return ""
}

// ending are the keys of RestoreOptions.Tombstones that have no record here and would be there all
// the same: those of other systems, and those that an alias names before they are made. The list is
// not authenticated, and ends no key that lives in this key store.
func (rs *restoring) ending(ctx context.Context) (ids []keyid.ID, err error) {
	for id := range rs.buried {
		_, named := rs.named[id]
		if !named && rs.m.legacy.keys[id] == nil {
			continue
		}
		switch _, err := rs.m.store.Get(ctx, keyItem(id.String())); {
		case errors.Is(err, keystore.ErrNotFound):
			ids = append(ids, id)
		case err != nil:
			return nil, rs.c.storeFailed(id.String(), err)
		}
	}
	slices.SortFunc(ids, keyid.ID.Compare)
	return ids, nil
}

// end leaves a tombstone for each key that ends, in the default instance: there it stays.
func (rs *restoring) end(ctx context.Context) error {
	m, c := rs.m, rs.c
	ids, err := rs.ending(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		known := m.latestKeys.Before(id)
		r := &record{ID: id, keys: m.home.Load().keys, Spec: SpecAES256, Usage: UsageEncryptDecrypt, Origin: OriginKMS,
			Owner: OwnerCustomer, Protection: ProtectionSoftware, CreatedAt: c.now()}
		if n := rs.named[id]; n.service != "" {
			r.Owner, r.Service = OwnerService, n.service
		}
		if old := m.legacy.keys[id]; old != nil {
			r.Was = old.proof(id)
		}
		r.bury(c.now())
		of := *c
		of.keyID = id.String()
		if err := m.notOlder(ctx, &of, 0, known); err != nil {
			return err
		}
		if _, err := m.write(ctx, c, r, ""); err != nil && !errors.Is(err, errStale) {
			return err
		}
	}
	return nil
}

// restoreAlias gives a key its name again, unless that names another key now.
func (rs *restoring) restoreAlias(ctx context.Context, a Alias) error {
	id, _ := keyid.Parse(a.KeyID)
	if why := rs.skipped[id]; why != "" {
		return rs.skip(id, a.Name, why)
	}
	return rs.c.retry(ctx, "", func() error {
		current, err := rs.m.loadAlias(ctx, rs.c, a.Name)
		if refusedAs(err, ErrTampered) {
			return rs.skip(id, a.Name, SkippedTampered)
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
			return rs.skip(id, a.Name, SkippedDeleted)
		case current.id != id && taken:
			return rs.skip(id, a.Name, SkippedTaken)
		case current.id == id && !rs.report.Made:
			return nil
		case current.id != id:
			switch err := rs.c.also(OpCreateAlias).authorize(ctx, Request{KeyID: a.KeyID, Alias: a.Name}); {
			case refusedAs(err, ErrDenied):
				return rs.skip(id, a.Name, SkippedDenied)
			case err != nil:
				return err
			}
			if err := rs.m.writeAlias(ctx, rs.c, a.Name, current, id); err != nil {
				return err
			}
		}
		rs.note(func(report *RestoreReport) { report.Aliases++ })
		return nil
	})
}

// skip notes that a key, or an alias of it, is not brought back.
func (rs *restoring) skip(id keyid.ID, alias string, why SkipReason) error {
	rs.note(func(report *RestoreReport) {
		report.Skipped = append(report.Skipped, SkippedItem{KeyID: id.String(), Alias: alias, Why: why})
		if alias == "" {
			rs.skipped[id] = why
		}
	})
	return nil
}
