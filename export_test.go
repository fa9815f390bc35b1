package kms

import (
	"cmp"
	"context"
	"time"
)

// What the tests may see of the table, and do to a record, that callers may not.

const NumOps = numOps

var States = []State{PendingImport, Enabled, Disabled, PendingDeletion, Deleted}

// KeylessOps are the operations that have no row.
var KeylessOps = []Op{OpCreateKey, OpListKeys, OpListAliases, OpMaintain, OpRotateRoot}

func HasRow(op Op) bool { return lifecycle[op].next != [numStates]State{} }

// OriginOf is an origin whose keys op may be done to, and HasOrigin whether it is the only one.
func OriginOf(op Op) Origin { return cmp.Or(lifecycle[op].origin, OriginKMS) }
func HasOrigin(op Op) bool  { return lifecycle[op].origin != "" }

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
	r := &record{text: keyID{}.String(), Origin: OriginOf(op), Versions: []keyVersion{{Version: 1}}}
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
	return r.allow(op, now)
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

// Cached counts the keys that a Manager keeps.
func Cached(m *Manager) (n int) {
	for i := range m.keys.slots {
		if m.keys.slots[i].Load() != nil {
			n++
		}
	}
	return n
}

// ShredSecret opens the shred secret of an imported key, as one with the root could.
func ShredSecret(ctx context.Context, m *Manager, id string) ([]byte, error) {
	c := &call{m: m, op: OpDescribeKey, now: m.now()}
	key, _ := parseKeyID(id)
	e, err := m.load(ctx, c, key)
	if err != nil {
		return nil, err
	}
	return m.instance.seal.Open(nil, e.record.Shred, m.instance.shredContext(key))
}
