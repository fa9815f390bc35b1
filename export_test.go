package kms

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/keyhold/kms/internal/fresh"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/internal/wire"
)

// What the tests may see of the table, and do to a record, that callers may not.

const NumOps = numOps

var States = []State{PendingImport, Enabled, Disabled, PendingDeletion, Deleted}

// KeylessOps are the operations that have no row.
var KeylessOps = []Op{
	OpCreateKey, OpListKeys, OpListAliases, OpMaintain, OpRotateRoot, OpMigrateLegacyKey, OpCreateInstance, OpDescribeInstance, OpListInstances,
	OpRenewInstance, OpReleaseInstance, OpSetInstanceDeletionProtection, OpBackupInstance, OpRestore, OpListTombstones, OpExplain, OpShred, OpDeletionReceipt,
	OpPlanRelease, OpReleaseReceipt,
}

func HasRow(op Op) bool { return lifecycle[op].next != [numStates]State{} }

// OriginOf is an origin whose keys op may be done to, and HasOrigin whether it is the only one.
func OriginOf(op Op) Origin { return cmp.Or(lifecycle[op].origin, OriginKMS) }
func HasOrigin(op Op) bool  { return lifecycle[op].origin != "" }

// SpecOf is a spec and a usage of keys that op may be done to.
func SpecOf(op Op) (Spec, Usage) {
	for _, spec := range []Spec{SpecAES256, SpecECP256, SpecHMAC256, SpecRSA2048} {
		for _, use := range specs[spec].uses {
			if Fits(op, spec, use.usage) {
				return spec, use.usage
			}
		}
	}
	return "", ""
}

// Fits is whether op may be done to keys of that spec and usage.
func Fits(op Op, spec Spec, usage Usage) bool {
	use, ok := specs[spec].use(usage)
	return ok && (lifecycle[op].needs == 0 || lifecycle[op].needs&use.purpose != 0)
}

// Uses are the usages of a spec, its default first, and Specs all specs.
func Uses(spec Spec) (usages []Usage) {
	for _, use := range specs[spec].uses {
		usages = append(usages, use.usage)
	}
	return usages
}

func Specs() []Spec { return slices.Sorted(maps.Keys(specs)) }

// SpecsOf are the specs that an algorithm is of.
func SpecsOf(alg SigningAlgorithm) []Spec { return signingSpecs[alg] }

// Algorithms are all signing algorithms.
func Algorithms() []SigningAlgorithm { return slices.Sorted(maps.Keys(signingSpecs)) }

// Readdress makes a ciphertext name another key.
func Readdress(ciphertext []byte, keyID string) []byte {
	h, payload, _ := wire.Parse(ciphertext)
	h.ID, _ = keyid.Parse(keyID)
	return append(h.Append(nil), payload...)
}

// ReadMaterial takes a private key of a spec as an import does.
func ReadMaterial(spec Spec, material []byte) bool {
	_, _, ok := specs[spec].material.Read(material)
	return ok
}

// Next is a cell: the state that follows, if it is one and allowed.
func Next(op Op, s State) (next State, asItsFacts, allowed bool) {
	switch next = lifecycle[op].next[s]; next {
	case stateNone:
		return 0, false, false
	case same:
		return s, false, true
	case asFacts:
		return 0, true, true
	}
	return next, false, true
}

// Refusal is what the table answers for a key that is in that state.
func Refusal(op Op, s State) error {
	now := time.Unix(1e9, 0)
	return refusalNow(recordIn(op, s, now), op, now, &instanceEntry{})
}

func recordIn(op Op, s State, now time.Time) *record {
	r := &record{Origin: OriginOf(op), Versions: []keyVersion{{Version: 1}}}
	r.Spec, r.Usage = SpecOf(op)
	switch s {
	case PendingImport:
		r.Versions = nil
	case Disabled:
		r.Disabled = true
	case PendingDeletion:
		r.DeleteAt = now.Add(1)
	case Deleted:
		r.DeleteAt = now
	}
	if r.facts().state(now) != s {
		panic("the facts do not give " + s.String())
	}
	return r
}

// IsReading, IsUse and IsChange are what an operation is to a key.
func IsReading(op Op) bool { return HasRow(op) && lifecycle[op].kind == reading }
func IsUse(op Op) bool     { return lifecycle[op].isUse() }
func IsChange(op Op) bool  { return lifecycle[op].kind == changing }

// RefusalWhileExpired is what the table answers for a key whose instance has expired.
func RefusalWhileExpired(op Op, s State) error {
	now := time.Unix(1e9, 0)
	return refusalNow(recordIn(op, s, now), op, now, &instanceEntry{rec: instanceRecord{ExpiresAt: now}})
}

func refusalNow(r *record, op Op, now time.Time, ie *instanceEntry) error {
	c := &call{op: op, moment: fresh.Moment{At: now}}
	if found := r.obstacles(c, ie); found != 0 {
		return r.refuseFor(c, ie, found)
	}
	return nil
}

// StateOf is the state of the given facts.
func StateOf(material, disabled bool, deleteAt time.Time, destroyed bool, now time.Time) State {
	return facts{material: material, until: time.Time{}, disabled: disabled, deleteAt: deleteAt, destroyed: destroyed}.state(now)
}

// StripMaterial takes the material from a key, as deleting imported material will.
func StripMaterial(ctx context.Context, m *Manager, id string) error {
	_, err := m.update(ctx, OpSetTags, id, nil, func(_ *call, r *record) error {
		r.Versions, r.Primary = nil, 0
		return nil
	})
	return err
}

// Change gives a key a deletion date that its state would not allow.
func Change(ctx context.Context, m *Manager, id string, deleteAt time.Time) error {
	_, err := m.update(ctx, OpSetTags, id, nil, func(_ *call, r *record) error {
		r.DeleteAt = deleteAt
		return nil
	})
	return err
}

// Prepare gives a key what an operation needs besides a state: a version to be retired, or a
// retirement that is pending. A key that is deleted, or has no material, stays as it is.
func Prepare(ctx context.Context, m *Manager, op Op, id string) {
	_, _ = m.update(ctx, OpDescribeKey, id, nil, func(c *call, r *record) error {
		switch {
		case op == OpRetireKeyVersions && len(r.Versions) > 0:
			return m.addVersion(ctx, c, r)
		case op == OpCancelRetirement && len(r.Versions) > 0:
			r.RetiringBefore, r.RetireAt = 1, c.now().AddDate(1, 0, 0)
		}
		return nil
	})
}

// Cached counts the keys that a Manager keeps.
func Cached(m *Manager) int { return m.keys.Len() }

// ShredSecret opens the shred secret of an imported key, as one with the root could.
func ShredSecret(ctx context.Context, m *Manager, id string) ([]byte, error) {
	c := &call{m: m, op: OpDescribeKey, moment: fresh.Moment{At: m.now()}}
	key, _ := keyid.Parse(id)
	e, err := m.load(ctx, c, key)
	if err != nil {
		return nil, err
	}
	return e.record.keys.Open(sealing.ShredSecret(key), e.record.Shred)
}

// IsSealed tells whether the record of an instance still holds its key.
func IsSealed(value []byte) bool { return bytes.Contains(value, []byte(`"seals":[`)) }

// LimitUses lets a Manager encrypt so often with a version of a hardware key, and take blocks of
// that size first.
func LimitUses(m *Manager, most, first uint64) {
	m.allowances.most, m.allowances.first = most, first
}

// Material opens the material of the primary version of a key, as one with the root could.
func Material(ctx context.Context, m *Manager, id string) ([]byte, error) {
	c := &call{m: m, op: OpDescribeKey, moment: fresh.Moment{At: m.now()}}
	key, _ := keyid.Parse(id)
	e, err := m.load(ctx, c, key)
	if err != nil {
		return nil, err
	}
	return m.material(c, e.record, &e.record.Versions[e.record.version(e.record.Primary)])
}

// WhoCannot is who can no longer read, by level.
func WhoCannot() map[DeletionLevel]string {
	all := map[DeletionLevel]string{}
	for l := DeletionLevel0; l <= DeletionLevel4; l++ {
		all[l] = whoCannot[l]
	}
	return all
}

// NoteFullPass has Maintain believe that it looked at all keys then.
func NoteFullPass(ctx context.Context, m *Manager, at time.Time) error {
	c := &call{m: m, op: OpMaintain, moment: fresh.Moment{At: at}}
	_, version, err := m.loadFullPass(ctx, c)
	if err != nil {
		return err
	}
	return m.keepFullPass(ctx, c, version)
}

// RecordDates are the fields of a record that hold a date.
func RecordDates() (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[record]()) {
		if f.IsExported() && f.Type == reflect.TypeFor[time.Time]() {
			names = append(names, f.Name)
		}
	}
	return names
}

// Standing tells of a key that is for an operation, in that state, and with a date set where one
// is named, whether the operation counts as allowed at any time, and whether it is at one.
func Standing(op Op, s State, date string, at time.Time) (always bool, allowedAt func(time.Time) bool) {
	keys, err := sealing.Derive(DefaultInstance, nil, 0, make([]byte, sealing.KeySize))
	if err != nil {
		panic(err)
	}
	m := &Manager{}
	m.home.Store(&instanceEntry{keys: keys})
	r := recordIn(op, s, time.Unix(1e9, 0))
	r.keys = keys
	if date != "" {
		reflect.ValueOf(r).Elem().FieldByName(date).Set(reflect.ValueOf(at))
	}
	return m.standing(r).has(op), func(now time.Time) bool {
		return r.obstacles(&call{op: op, moment: fresh.Moment{At: now}}, m.home.Load()) == 0
	}
}

// IsGuarded reports whether deletion protection refuses an operation on a key.
func IsGuarded(op Op) bool { return lifecycle[op].protects }

// HasUnavailableHint reports whether ErrUnavailable with that text has a hint of its own.
func HasUnavailableHint(text string) bool { return unavailableHints[text] != "" }

// purposeWords are the keys of a purpose, for the printed table.
var purposeWords = map[purpose]string{
	forSealing: "AES", forSigning: "it signs", forMacs: "it makes MACs", forOpening: "RSA to decrypt", forPublicKey: "asymmetric",
}

// Besides is what refuses an operation whatever the state of the key, by condition, with the keys that
// it is for.
func Besides(op Op) (conditions, words []string) {
	add := func(condition, word string) {
		conditions, words = append(conditions, condition), append(words, strings.TrimSpace(condition+" "+word))
	}
	row := &lifecycle[op]
	if row.kind == changing || row.kind == using {
		add("ErrReadOnly", "")
	}
	if row.origin != "" {
		add("ErrOrigin", "unless "+string(row.origin))
	}
	if row.needs != 0 {
		add("ErrUsage", "unless "+purposeWords[row.needs])
	}
	if row.protects {
		add("ErrProtected", "")
	}
	if row.blocks {
		add("ErrInUse", "")
	}
	if row.kind == opening {
		add("ErrRetired", "")
	}
	if row.isUse() {
		add("ErrBrownout", "")
	}
	return conditions, words
}
