package kms

import (
	"context"
	"math/bits"
	"time"
)

// obstacles are what stands in the way of an operation, because of what a key is: a set, in
// the order in which they are told.
type obstacles uint16

const (
	isGone        obstacles = 1 << iota // deleted, or its instance was released
	isUnavailable                       // its instance has expired
	isReadOnly                          // it belongs to a service, or to another system
	hasOrigin                           // another origin
	hasPurpose                          // another spec or usage
	isProtected                         // deletion protection is on
	isInUse                             // it has dependents
	inState                             // its state does not allow it

	// blockers are told together, by operations that are blocked.
	blockers = isProtected | isInUse | inState
)

// allow decides whether the operation of a call may be done to the key of r now. It is the
// only place that refuses because of what a key is. The instance of the key comes with it.
func (m *Manager) allow(ctx context.Context, c *call, r *record) (*instanceEntry, error) {
	ie, err := m.instanceOf(ctx, c, r.in.id)
	if err != nil {
		return nil, err
	}
	found := r.obstacles(c, ie)
	if found == 0 {
		return ie, nil
	}
	c.refused = r.refuseFor(c, ie, found)
	return nil, c.refused
}

// obstacles is all that stands in the way of a call. Of a key that is gone nothing more is
// told.
func (r *record) obstacles(c *call, ie *instanceEntry) (found obstacles) {
	state, home := r.facts().state(c.now()), ie.rec.state(c.now())
	if state == Deleted || home == InstanceReleased {
		return isGone
	}
	row := &lifecycle[c.op]
	if home == InstanceExpired && row.next[Unavailable] == stateNone {
		found |= isUnavailable
	}
	if row.kind == changing && !r.changedBy(c.service) || row.kind == using && r.Owner == OwnerLegacy {
		found |= isReadOnly
	}
	if row.origin != "" && r.Origin != row.origin {
		found |= hasOrigin
	}
	if row.needs != 0 && r.purpose()&row.needs == 0 {
		found |= hasPurpose
	}
	if row.blocks && r.Protected {
		found |= isProtected
	}
	if row.blocks && len(r.Dependents) > 0 {
		found |= isInUse
	}
	if row.next[state] == stateNone {
		found |= inState
	}
	return found
}

// refuseFor is what a caller is told of obstacles: the first; of those that block, where that
// is one of them, all in one error.
func (r *record) refuseFor(c *call, ie *instanceEntry, found obstacles) error {
	first := found & -found
	if first&blockers == 0 {
		return r.refusals(c, ie, first)[0]
	}
	return blocked(c.op, r.id(), r.refusals(c, ie, found))
}

// refusals are the errors for obstacles, one for each.
func (r *record) refusals(c *call, ie *instanceEntry, found obstacles) (all []error) {
	for ; found != 0; found &= found - 1 {
		all = append(all, r.refusal(c, ie, 1<<bits.TrailingZeros16(uint16(found))))
	}
	return all
}

func (r *record) refusal(c *call, ie *instanceEntry, one obstacles) error {
	row := &lifecycle[c.op]
	switch one {
	case isGone:
		return keyGone(c.op, r.id(), ie.rec.state(c.now()) == InstanceReleased)
	case isUnavailable:
		return newInstanceExpired(c.op, r.id(), &ie.rec)
	case isReadOnly:
		return newReadOnlyError(c.op, r)
	case hasOrigin:
		return &refusal{op: c.op, keyID: r.id(), cond: ErrUnsupported, text: "the origin of the key's material", hint: originHints[row.origin]}
	case hasPurpose:
		return wrongPurpose(c.op, r.id(), row.needs)
	case isProtected:
		return newProtectedError(c.op, r.id(), r.ProtectedWhy)
	case isInUse:
		return newInUseError(c.op, r.id(), r.Dependents)
	default:
		return newStateRefusal(c.op, row.called, r, r.facts().state(c.now()))
	}
}

// state is what a key is, seen from outside: by its own facts and those of its instance.
func (r *record) state(ie *instanceEntry, now time.Time) State {
	own := r.facts().state(now)
	switch ie.rec.state(now) {
	case InstanceReleased:
		return Deleted
	case InstanceExpired:
		if own != Deleted {
			return Unavailable
		}
	}
	return own
}
