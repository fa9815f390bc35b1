package kms

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"time"

	"github.com/keyhold/kms/internal/fresh"
)

// obstacles are what stands in the way of an operation, because of what a key is: a set, in
// the order in which they are told.
type obstacles uint16

const (
	isGone              obstacles = 1 << iota // deleted, or its instance was released
	isUnavailable                             // its instance has expired
	isReadOnly                                // it belongs to a service, or to another system
	hasOrigin                                 // another origin
	hasPurpose                                // another spec or usage
	isProtected                               // deletion protection is on
	isInstanceProtected                       // that of its instance is on, and covers its keys
	isInUse                                   // it has dependents
	inState                                   // its state does not allow it

	// blockers are told together, by operations that are blocked.
	blockers = protections | isInUse | inState

	// protections are what a call by force does in spite of.
	protections = isProtected | isInstanceProtected
)

// allow decides whether the operation of a call may be done to the key of r now. It is the
// only place that refuses because of what a key is. The instance of the key comes with it.
func (m *Manager) allow(ctx context.Context, c *call, r *record) (*instanceEntry, error) {
	ie, err := m.homeOf(ctx, c, r.keys.ID())
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

// homeOf is the instance of a key for a decision. Where its deletion protection matters it is as
// the store has it now: what is in memory may be older, and of the default instance as old as
// the process.
func (m *Manager) homeOf(ctx context.Context, c *call, id string) (*instanceEntry, error) {
	if !lifecycle[c.op].protects {
		return m.instanceOf(ctx, c, id)
	}
	ie, err := m.currentInstance(ctx, c, id)
	if refusedAs(err, ErrNotFound) || refusedAs(err, ErrTampered) {
		return nil, refuse(c.op, c.keyID, ErrTampered) // a key without its instance
	}
	return ie, err
}

// checkForce refuses to do something by force for no reason.
func checkForce(op Op, force bool, reason string) error {
	if force && reason == "" {
		return invalid(op, "Force is given without a Reason")
	}
	return checkText(op, reason, "reason", MaxDescription)
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
	if (row.kind == changing && !r.changedBy(c.service)) || (row.kind == using && r.Owner == OwnerLegacy) {
		found |= isReadOnly
	}
	if row.origin != "" && r.Origin != row.origin {
		found |= hasOrigin
	}
	if row.needs != 0 && r.purpose()&row.needs == 0 {
		found |= hasPurpose
	}
	if row.protects && r.Protected {
		found |= isProtected
	}
	if row.protects && ie.rec.coversKeys() {
		found |= isInstanceProtected
	}
	if c.forced {
		found &^= protections
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
		return &refusal{op: c.op, keyID: r.id(), cond: ErrOrigin, hint: originHints[row.origin]}
	case hasPurpose:
		return wrongPurpose(c.op, r.id(), row.needs)
	case isProtected:
		return newProtectedError(c.op, r.id(), r.ProtectedWhy)
	case isInstanceProtected:
		return newProtectedHome(c.op, r.id(), &ie.rec)
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

// An opSet is a set of operations.
type opSet uint64

const _ = uint(64 - numOps) // they fit

func (s opSet) has(op Op) bool { return s&(1<<op) != 0 }

// standing are the uses of a key that nothing stands in the way of, whatever the time, as long as
// its record is what it is: what the table said of them once need not be asked again. There are
// none of a key in an instance that may expire, and of one whose state or brown-out time changes.
func (m *Manager) standing(r *record) (uses opSet) {
	if r.keys.ID() != DefaultInstance || r.timed() {
		return 0
	}
	for op := range numOps {
		if lifecycle[op].isUse() && r.obstacles(&call{m: m, op: op, moment: fresh.Moment{At: time.Unix(0, 0)}}, m.home.Load()) == 0 {
			uses |= 1 << op
		}
	}
	return uses
}

// timed tells whether a date bears on what may be done with the key.
func (r *record) timed() bool {
	return !r.DeleteAt.IsZero() || !r.MaterialUntil.IsZero() || r.BrownShare > 0
}

// Brownout refuses a share of the uses of a key for a while: a step between Enabled and
// Disabled, in which whoever still needs the key notices and can be found, and can still go
// on by trying again. It ends by itself.
type Brownout struct {
	Share float64   // of uses that are refused: 0 to 1, kept in millionths
	Until time.Time // from then on none is
}

// BrownoutError says that a use was among the share that is refused. It matches ErrBrownout.
type BrownoutError struct {
	refusal
	KeyID string
	Brownout
}

// millionths are in what a share is kept.
const millionths = 1_000_000

// SetBrownout has a share of the uses of an Enabled key refused with ErrBrownout until a
// date in the future: 0 refuses none and ends a brown-out, 1 refuses all. Which use is
// refused is random. Every use is counted and told to Observe, as ever. The date counts also
// while the key is not Enabled. A share that is not 0 to 1, or a date that is not in the
// future, is ErrInvalid.
//
// By what the key is, it is refused with ErrDisabled, ErrInstanceExpired, ErrNotFound,
// ErrPendingDeletion, ErrPendingImport and ErrReadOnly.
func (m *Manager) SetBrownout(ctx context.Context, ref string, share float64, until time.Time) (Key, error) {
	var bad error
	switch {
	case !(share >= 0 && share <= 1): // and so not what is no number
		bad = invalid(OpSetBrownout, "the share is not 0 to 1")
	case share > 0 && !until.After(m.now()):
		bad = invalid(OpSetBrownout, "until, the end of the brown-out, is not in the future")
	}
	return m.update(ctx, OpSetBrownout, ref, bad, func(_ *call, r *record) error {
		r.BrownShare, r.BrownUntil = uint32(math.Ceil(share*millionths)), until.Round(0).UTC()
		if r.BrownShare == 0 {
			r.BrownUntil = time.Time{}
		}
		return nil
	})
}

// brownout is that of a key now; zero: there is none.
func (r *record) brownout(now time.Time) Brownout {
	if r.BrownShare == 0 || !now.Before(r.BrownUntil) {
		return Brownout{}
	}
	return Brownout{Share: float64(r.BrownShare) / millionths, Until: r.BrownUntil}
}

// dim refuses a use of a key by chance, while that has a brown-out.
func (r *record) dim(c *call) error {
	if r.BrownShare == 0 || !lifecycle[c.op].isUse() || !c.now().Before(r.BrownUntil) {
		return nil
	}
	var random [8]byte
	rand.Read(random[:])
	if binary.BigEndian.Uint64(random[:])%millionths >= uint64(r.BrownShare) {
		return nil
	}
	return newBrownoutError(c, r)
}

func newBrownoutError(c *call, r *record) error {
	b := r.brownout(c.now())
	text := strconv.FormatFloat(b.Share*100, 'f', -1, 64) + " % of uses are refused until " + instant(b.Until)
	return &BrownoutError{refusal{op: c.op, keyID: r.id(), cond: ErrBrownout, text: text}, r.id(), b}
}
