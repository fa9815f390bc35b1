package kms

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/keyhold/kms/keystore"
)

// RetireOptions says which versions of a key to retire, and when.
type RetireOptions struct {
	Before int  // versions below this one; at most the primary version, which is never retired
	Days   int  // until they are destroyed: 7 to 366 days of 24 hours from the call on
	Force  bool // also if the key is protected, or a version was used that many days before the call

	// Reason is kept while the versions are suspended, and stands in the error that refuses their
	// use: up to 256 characters. With Force it is required.
	Reason string
}

// RetiredError says that the version of the key that encrypted a ciphertext was retired. It
// matches ErrRetired.
type RetiredError struct {
	refusal
	KeyID     string
	Version   int
	DestroyAt time.Time // until this instant, exclusive, it can be brought back; zero: it cannot
	Why       string    // the reason given to RetireKeyVersions; "" once the version is destroyed
}

// RetireKeyVersions ends versions of a key as ScheduleKeyDeletion ends a key. It suspends all
// versions below Before at once: what they encrypted is refused with ErrRetired, and the uses that
// were refused are in KeyUsage. When Days times 24 hours have passed they are retired for good:
// Maintain destroys their material, and what they encrypted, data keys included, is unreadable.
// Until that instant CancelRetirement brings them back. Move data to the primary version with
// Rewrap first.
//
// It makes room for further versions, so that a rotation policy can go on for ever. Versions count
// for Config.MaxKeyVersions until they are destroyed.
//
// Without Force it is refused with ErrProtected if deletion protection is on, and with ErrInUse
// if a version below Before was used in the last Days days, as far as KeyUsage knows: a process
// keeps what it counted when it runs Maintain. It is ErrState while another retirement is pending,
// ErrWindow if Days is out of bounds, ErrInvalid if Before is above the primary version or there
// is no version below it, and ErrUnsupported for a key that is not rotated.
//
// By what the key is, it is refused with ErrInstanceExpired, ErrNotFound, ErrOrigin,
// ErrProtected, ErrReadOnly, ErrState and ErrUsage.
func (m *Manager) RetireKeyVersions(ctx context.Context, ref string, opts RetireOptions) (Key, error) {
	return m.retireKeyVersions(ctx, "", ref, opts.check(OpRetireKeyVersions), opts)
}

func (m *Manager) retireKeyVersions(ctx context.Context, service, ref string, bad error, opts RetireOptions) (Key, error) {
	c := m.begin(OpRetireKeyVersions)
	c.service = service
	if bad == nil {
		c.forced, c.reason = opts.Force, opts.Reason
	}
	return m.updateIn(ctx, c, ref, bad, func(c *call, r *record) error {
		return m.startRetirement(ctx, c, r, opts)
	})
}

func (o *RetireOptions) check(op Op) error {
	switch {
	case o.Days < MinDeletionDays || o.Days > MaxDeletionDays:
		return refuse(op, "", ErrWindow)
	case o.Force && o.Reason == "":
		return checkForce(op, o.Force, o.Reason)
	}
	return checkText(op, o.Reason, "reason", MaxDependent)
}

func (m *Manager) startRetirement(ctx context.Context, c *call, r *record, o RetireOptions) error {
	if err := r.refuseRetiring(c); err != nil {
		return err
	}
	switch {
	case o.Before > int(r.Primary):
		return invalid(c.op, "Before is above the primary version, which is never retired")
	case len(r.Versions) == 0 || o.Before <= int(r.Versions[0].Version):
		return invalid(c.op, "the key has no version below Before")
	}
	window := time.Duration(o.Days) * 24 * time.Hour
	if !o.Force {
		if err := m.refuseUsed(ctx, c, r, o.Before, c.now().Add(-window)); err != nil {
			return err
		}
	}
	r.RetiringBefore, r.RetireAt, r.RetireWhy = uint32(o.Before), c.now().Add(window), o.Reason
	return nil
}

// refuseUsed refuses to retire versions of which one was used since a time.
func (m *Manager) refuseUsed(ctx context.Context, c *call, r *record, before int, since time.Time) error {
	usage, err := m.keyUsage(ctx, c, r.ID)
	if err != nil {
		return err
	}
	used := slices.DeleteFunc(usage.Versions, func(v VersionUsage) bool {
		return v.Version == 0 || v.Version >= before || v.Last.Before(since.Truncate(time.Second))
	})
	if len(used) == 0 {
		return nil
	}
	last := slices.MaxFunc(used, func(a, b VersionUsage) int { return a.Last.Compare(b.Last) })
	text := "version " + strconv.Itoa(last.Version) + " was used at " + instant(last.Last)
	hint := "Move what these versions encrypted to the primary version with Rewrap, and wait until as many days have passed without a use; or retire them with Force and a Reason."
	return &InUseError{refusal: refusal{op: c.op, keyID: r.id(), cond: ErrInUse, text: text, hint: hint}, KeyID: r.id(), Versions: used}
}

// CancelRetirement brings back the versions that RetireKeyVersions suspended. It is refused with
// ErrState if no retirement is pending, and so from its date on.
//
// By what the key is, it is refused with ErrNotFound, ErrOrigin, ErrReadOnly, ErrState and
// ErrUsage.
func (m *Manager) CancelRetirement(ctx context.Context, ref string) (Key, error) {
	return m.update(ctx, OpCancelRetirement, ref, nil, cancelRetirement)
}

func cancelRetirement(c *call, r *record) error {
	if err := r.refuseCancel(c); err != nil {
		return err
	}
	r.endRetirement()
	return nil
}

// endRetirement takes the retirement that is pending from a record.
func (r *record) endRetirement() {
	r.RetiringBefore, r.RetireAt, r.RetireSeenAt, r.RetireWhy = 0, time.Time{}, time.Time{}, ""
}

// refuseRetiring refuses a retirement while another is pending.
func (r *record) refuseRetiring(c *call) error {
	if r.RetiringBefore == 0 {
		return nil
	}
	return r.retirementState(c, "the retirement of versions below "+strconv.FormatUint(uint64(r.RetiringBefore), 10)+" is pending until "+instant(r.RetireAt),
		"Wait until Maintain has destroyed them, or cancel that retirement first with CancelRetirement, which works until its date.")
}

// refuseCancel refuses to cancel where there is nothing to cancel any more.
func (r *record) refuseCancel(c *call) error {
	switch {
	case r.retireDue(c.now()):
		return r.retirementState(c, "its versions below "+strconv.FormatUint(uint64(r.RetiringBefore), 10)+" were retired at "+instant(r.RetireAt),
			"Nothing brings versions back from the date of their retirement on.")
	case r.RetiringBefore == 0:
		return r.retirementState(c, "no retirement of its versions is pending", "There is nothing to cancel.")
	}
	return nil
}

func (r *record) retirementState(c *call, text, hint string) error {
	return &StateError{refusal: refusal{op: c.op, keyID: r.id(), cond: ErrState, text: text, hint: hint}, KeyID: r.id(), Op: c.op, State: r.facts().state(c.now())}
}

// retireDue reports whether the date of a retirement has come: at that instant, not after it.
func (r *record) retireDue(now time.Time) bool {
	return !r.RetireAt.IsZero() && !now.Before(r.RetireAt)
}

// retiredBefore is the version below which all are retired, whether or not Maintain destroyed them.
func (r *record) retiredBefore(now time.Time) uint32 {
	if r.retireDue(now) {
		return max(r.RetiredBefore, r.RetiringBefore)
	}
	return r.RetiredBefore
}

// refuseRetired refuses the use of a version that was retired, or is suspended until it is.
func (r *record) refuseRetired(c *call, version uint32) error {
	if version == 0 || version >= max(r.RetiredBefore, r.RetiringBefore) {
		return nil
	}
	e := &RetiredError{refusal: refusal{op: c.op, keyID: r.id(), cond: ErrRetired, text: "version " + strconv.FormatUint(uint64(version), 10)},
		KeyID: r.id(), Version: int(version)}
	if version >= r.retiredBefore(c.now()) {
		e.DestroyAt, e.Why, e.said = r.RetireAt, r.RetireWhy, quoted(r.RetireWhy)
		e.text += " is suspended and will be destroyed at " + instant(r.RetireAt)
		e.hint = "If the data is still needed, bring the version back with CancelRetirement before that date, and move the data to the primary version with Rewrap."
	}
	return e
}

// retireNow ends the versions whose retirement is due, unless Maintain has yet to wait. Their
// material is doomed then.
func (m *Manager) retireNow(c *call, r *record) bool {
	if m.purgeDelay > 0 && (!r.retireNoted(c.now()) || c.now().Sub(r.RetireSeenAt) < m.purgeDelay) {
		return false
	}
	r.retire(r.RetiringBefore)
	return true
}

// retire ends the versions of a key below before.
func (r *record) retire(before uint32) {
	gone := 0
	for gone < len(r.Versions) && r.Versions[gone].Version < before {
		gone++
	}
	r.Doomed = append(slices.Clip(r.Doomed), r.Versions[:gone]...)
	r.Versions, r.RetiredBefore, r.RunsOutTold = slices.Clone(r.Versions[gone:]), max(r.RetiredBefore, before), false
	if r.RetiringBefore <= r.RetiredBefore {
		r.endRetirement()
	}
}

// retireNoted reports whether Maintain has seen the date of a retirement passed.
func (r *record) retireNoted(now time.Time) bool {
	return !r.RetireSeenAt.IsZero() && !r.RetireSeenAt.After(now)
}

// stepRetirement takes the next step of a retirement whose date has passed: it notes that, waits, or
// ends the versions.
func (m *Manager) stepRetirement(ctx context.Context, c *call, r *record, version keystore.Version, report *Report) error {
	switch {
	case m.retireNow(c, r):
		return m.doom(ctx, c, r, version, report)
	case r.retireNoted(c.now()):
		report.Waiting = append(report.Waiting, r.id())
		return nil
	}
	r.RetireSeenAt = c.now()
	return m.step(ctx, c, r, version, StepNoted, report)
}

// foldUsage makes one line of what is known of the use of versions that were retired, so that what
// is kept does not grow with every version that a key ever had.
func (m *Manager) foldUsage(ctx context.Context, c *call, r *record) error {
	if r.RetiredBefore == 0 {
		return nil
	}
	return c.retry(ctx, r.id(), func() error {
		kept, version, err := m.loadUsage(ctx, c, r.ID)
		if err != nil || version == "" || kept.RetiredBefore >= r.RetiredBefore {
			return err
		}
		sum := kept.plus(&usageRecord{Key: r.ID, RetiredBefore: r.RetiredBefore})
		sum.Seq, sum.Batches = kept.Seq+1, kept.Batches
		return written(c.op, r.id(), m.putHome(ctx, c, usageSegment+r.id(), version, sum))
	})
}

// mergeRetirement makes r give up the versions that b gave up, and suspend those that b suspends.
// Of two retirements that are pending, the one of more versions counts, else the earlier. It is
// false where b cannot be of the same key: no key retires its primary version.
func (r *record) mergeRetirement(b *record, later bool, now time.Time) bool {
	if max(b.RetiredBefore, b.RetiringBefore) > b.Primary || b.RetiredBefore > r.Primary {
		return false
	}
	if b.RetiredBefore > r.RetiredBefore {
		r.retire(b.RetiredBefore)
	}
	retiring := min(b.RetiringBefore, r.Primary) // which may have stayed here
	switch {
	case later && b.retireDue(now): // it was cancelled here, and its date is no reason to lose data
	case len(r.Versions) == 0:
	case retiring > max(r.RetiringBefore, r.RetiredBefore, r.Versions[0].Version):
		r.RetiringBefore, r.RetireAt, r.RetireWhy = retiring, b.RetireAt, b.RetireWhy
	case b.RetiringBefore == r.RetiringBefore:
		r.RetireAt = earliest(r.RetireAt, b.RetireAt)
	}
	return true
}
