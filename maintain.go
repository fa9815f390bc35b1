package kms

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/keystore"
)

// Report tells what one pass of Maintain found and did. What a pass did and could not know, because
// the key store's answer was lost, is in the report of the next pass that this Manager makes.
type Report struct {
	Keys     int      // records that were looked at: of keys that are due, and once in 24 hours of all
	Noted    []string // IDs of keys of which a date, of deletion or retirement, was first seen passed
	Purged   []string // IDs of keys whose material is destroyed now, also in hardware with their instance
	Expired  []string // IDs of keys whose imported material was over, and is destroyed now
	Retired  []string // IDs of keys of which versions were retired, and are destroyed now
	Rotated  []string // IDs of keys that got a new version because their policy asked for it
	Waiting  []string // IDs of keys that are due, or have versions that are: a later pass purges them
	Tampered []string // of those, IDs under which something stands that this service did not write

	Instances InstanceReport
}

// Maintain does all that time asks for, once. Nothing depends on when it runs: a key
// whose deletion date has come is Deleted at that instant. What it adds is that the
// material is destroyed: it notes that it saw the date passed, and PurgeDelay later
// leaves a tombstone in the record's place, has the provider destroy the key, and
// forgets what led to it. The same for instances whose grace is over; and it gives notice
// of those that come to their end, keeps what is known of the use of keys, rotates keys, and
// destroys the versions that were retired, as long after their date. It is
// safe on every node at once and may be killed at any point; the next pass finishes. Where nothing
// is due it reads the record of no key, but once in 24 hours it looks at all. A key that fails does not keep the others: the errors
// are joined, and the report says what was done nonetheless. Config.Observe is told of each step
// when it is taken (Step), and of the pass when it is over, with what failed.
func (m *Manager) Maintain(ctx context.Context) (Report, error) {
	report, _, err := m.pass(ctx)
	return report, err
}

// pass is one pass of Maintain. Denied reports whether Authorize refused it.
func (m *Manager) pass(ctx context.Context) (report Report, denied bool, err error) {
	c := m.begin(OpMaintain)
	defer c.end(ctx, &err)
	if err := c.authorize(ctx, Request{}); err != nil {
		return report, true, err
	}
	failed := m.settleUnsure(ctx, c, &report)
	failed = append(failed, m.maintainInstances(ctx, c, &report)...)
	failed = append(failed, m.maintainKeys(ctx, c, &report)...)
	if err := m.flushUsage(ctx, c); err != nil {
		failed = append(failed, err)
	}
	return report, false, errors.Join(failed...)
}

// Run does Maintain at once and then every minute, until ctx ends, and returns ctx's cause,
// which is no refusal of this package. If Authorize refuses a pass, Run returns that error, which
// matches ErrDenied, at once: it may do nothing. Anything else that a pass could not do is in the
// Event of the pass, and the next pass tries it again; what a pass did is an Event for each step. A
// program that runs neither this nor Maintain destroys nothing.
//
// Where other processes share the store, and MaxStaleness is not zero, Run also looks for
// their changes three times within it, so that calls need not, and at once where the store
// tells of them. While it cannot, an Event with NoticeCannotFollow says so, at once and then once
// between two passes. The goroutines that it starts for this have ended when it returns.
func (m *Manager) Run(ctx context.Context) error {
	if err := m.begin(OpMaintain).enter(ctx); refusedAs(err, ErrInvalid) {
		return err
	}
	var f following
	defer m.keepFresh(ctx, &f)()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		if _, denied, err := m.pass(ctx); denied && ctx.Err() == nil {
			return err
		}
		f.again()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Step is what was done to a key or an instance because time asked for it, in an Event. It is told
// when it is written, by the process that wrote it.
type Step string

// The steps. Each is told of a key, with its instance, or of an instance, with no key; each has the
// list of the Report that has its name. Most are taken by Maintain. Three are also taken by the call
// that asks for them, and have its Op: StepExpired by DeleteKeyMaterial, StepPurged and
// StepReleased by ReleaseInstance.
//
// A step is told at least once if the process lives: if the answer of the key store was lost, by the
// next Maintain of the same Manager, once it sees that the step was taken. If the process is killed
// between the write and the Event, the step is not told; Keys, Tombstones and Instances show it.
const (
	StepNoted     Step = "Noted"     // the end of a key, of its versions or of an instance was seen for the first time
	StepCorrected Step = "Corrected" // the clock was wrong at StepNoted, which holds no longer; in no list
	StepPurged    Step = "Purged"    // the material of a deleted key was destroyed
	StepExpired   Step = "Expired"   // the imported material of a key was over, or deleted, and was destroyed
	StepRetired   Step = "Retired"   // versions of a key were retired, and their material was destroyed
	StepRotated   Step = "Rotated"   // a key got a new version, which is KeyVersion, as its policy asked
	StepNoticed   Step = "Noticed"   // notice was given of the end of an instance, or of the versions of a key; the Event has the Notice
	StepReleased  Step = "Released"  // the key of an instance was destroyed, and all its keys with it
)

// keySteps and instanceSteps are the steps by what they are of: the list of the report that each
// stands in, nil for none, and whether a record shows that it was taken.
var (
	keySteps = map[Step]struct {
		list  func(*Report) *[]string
		shown func(*record, Event) bool
	}{
		StepNoted:     {func(r *Report) *[]string { return &r.Noted }, func(r *record, _ Event) bool { return !r.DueSeenAt.IsZero() || !r.RetireSeenAt.IsZero() }},
		StepCorrected: {nil, func(r *record, _ Event) bool { return r.DueSeenAt.IsZero() && r.RetireSeenAt.IsZero() }},
		StepNoticed:   {nil, func(r *record, _ Event) bool { return r.RunsOutTold }},
		StepRetired:   {func(r *Report) *[]string { return &r.Retired }, func(r *record, _ Event) bool { return len(r.Doomed) == 0 }},
		StepPurged:    {func(r *Report) *[]string { return &r.Purged }, func(r *record, _ Event) bool { return !r.DestroyedAt.IsZero() && len(r.Doomed) == 0 }},
		StepExpired:   {func(r *Report) *[]string { return &r.Expired }, func(r *record, _ Event) bool { return len(r.Doomed) == 0 }},
		StepRotated:   {func(r *Report) *[]string { return &r.Rotated }, func(r *record, e Event) bool { return r.version(uint32(e.KeyVersion)) >= 0 }},
	}
	instanceSteps = map[Step]struct {
		list  func(*InstanceReport) *[]string
		shown func(*instanceRecord, Event) bool
	}{
		StepNoted:     {func(r *InstanceReport) *[]string { return &r.Noted }, func(rec *instanceRecord, _ Event) bool { return !rec.OverSeenAt.IsZero() }},
		StepCorrected: {nil, func(rec *instanceRecord, _ Event) bool { return rec.OverSeenAt.IsZero() }},
		StepNoticed:   {func(r *InstanceReport) *[]string { return &r.Noticed }, func(rec *instanceRecord, e Event) bool { return rec.Told == e.Notice }},
		StepReleased:  {func(r *InstanceReport) *[]string { return &r.Released }, func(rec *instanceRecord, _ Event) bool { return rec.destroyed() }},
	}
)

// An unsureStep is a step whose write had no answer, and the sequence number that it gives the record.
type unsureStep struct {
	Event
	seq uint64
}

// unsureSteps are those of this process.
type unsureSteps struct {
	mu  sync.Mutex
	all []unsureStep
}

// set forgets a step, or keeps it as one that is unsure.
func (u *unsureSteps) set(e Event, seq uint64, unsure bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all = slices.DeleteFunc(u.all, func(s unsureStep) bool {
		return s.KeyID == e.KeyID && s.Instance == e.Instance && s.Step == e.Step && s.KeyVersion == e.KeyVersion
	})
	if unsure {
		u.all = append(u.all, unsureStep{e, seq})
	}
}

// took is called with the outcome of each write that takes a step, which it returns. It is the one
// place that adds to the lists of a report and tells Observe of a step.
func (m *Manager) took(ctx context.Context, e Event, seq uint64, err error, report *Report) error {
	var failed *UnavailableError
	unsure := errors.As(err, &failed) && failed.Unknown
	if err == nil || unsure {
		m.unsure.set(e, seq, unsure)
	}
	if err != nil {
		return err
	}
	id, list := e.KeyID, (*[]string)(nil)
	if of := keySteps[e.Step].list; id != "" && of != nil {
		list = of(report)
	} else if of := instanceSteps[e.Step].list; id == "" && of != nil {
		id, list = e.Instance, of(&report.Instances)
	}
	if list != nil {
		*list = append(*list, id)
	}
	if m.tell != nil {
		m.tell(ctx, e)
	}
	return nil
}

// settleUnsure tells of the steps that were taken after all. It keeps those that may yet be.
func (m *Manager) settleUnsure(ctx context.Context, c *call, report *Report) (failed []error) {
	m.unsure.mu.Lock()
	all := slices.Clone(m.unsure.all)
	m.unsure.mu.Unlock()
	for _, s := range all {
		seq, shown, err := m.shownStep(ctx, c, s.Event)
		switch {
		case err != nil:
			failed = append(failed, err)
		case shown && seq >= s.seq:
			_ = m.took(ctx, s.Event, s.seq, nil, report)
		case seq >= s.seq:
			m.unsure.set(s.Event, s.seq, false)
		}
	}
	return failed
}

// shownStep reads the record that a step was of: its sequence number, and whether it shows the step. One
// that cannot be read any more, whatever is done, shows none.
func (m *Manager) shownStep(ctx context.Context, c *call, e Event) (seq uint64, shown bool, err error) {
	if e.KeyID == "" {
		rec, _, err := m.getInstance(ctx, c, e.Instance)
		if err == nil {
			return rec.Seq, instanceSteps[e.Step].shown(rec, e), nil
		}
		return math.MaxUint64, false, lasting(err)
	}
	id, _ := keyid.Parse(e.KeyID)
	of := *c
	found, err := m.load(ctx, &of, id)
	if err == nil {
		return found.record.Seq, keySteps[e.Step].shown(found.record, e), nil
	}
	return math.MaxUint64, false, lasting(err)
}

// lasting drops an error that says that a record is not there or not good.
func lasting(err error) error {
	if refusedAs(err, ErrNotFound) || refusedAs(err, ErrTampered) || refusedAs(err, ErrRoot) {
		return nil
	}
	return err
}

// maintainKey takes the next steps of one key, if time asks for any. Each step is one write;
// whoever loses the race for it leaves the rest to the winner.
func (m *Manager) maintainKey(ctx context.Context, c *call, r *record, ie *instanceEntry, version keystore.Version, report *Report) error {
	f, state := r.facts(), r.state(ie, c.now())
	rotation := m.rotation(r, state)
	due, noted := f.due(c.now()), !r.DueSeenAt.IsZero() && !r.DueSeenAt.After(c.now())
	switch {
	case len(r.Doomed) > 0:
		return m.destroy(ctx, c, r, version, report)
	case f.destroyed:
		return nil
	case due && !noted && m.purgeDelay > 0:
		r.DueSeenAt = c.now()
		return m.step(ctx, c, r, version, StepNoted, report)
	case due && noted && c.now().Sub(r.DueSeenAt) < m.purgeDelay:
		report.Waiting = append(report.Waiting, r.id())
		return nil
	case due:
		if r.bury(c.now()); len(r.Doomed) == 0 {
			return m.step(ctx, c, r, version, StepPurged, report)
		}
	case !r.DueSeenAt.IsZero(), !r.RetireSeenAt.IsZero() && !r.retireDue(c.now()):
		// The clock was wrong when the note was made.
		r.settle(c.now())
		return m.step(ctx, c, r, version, StepCorrected, report)
	case f.material && f.expired(c.now()):
		r.dropMaterial()
	case rotation.due(c.now()):
		switch err := m.addVersion(ctx, c, r); {
		case err == nil:
			return m.step(ctx, c, r, version, StepRotated, report)
		case r.retireDue(c.now()): // which may make the room that is wanted
			return errors.Join(err, m.stepRetirement(ctx, c, r, version, report))
		default:
			return err
		}
	case r.retireDue(c.now()):
		return m.stepRetirement(ctx, c, r, version, report)
	case !r.RunsOutTold && rotation.runsOut(state, c.now()):
		r.RunsOutTold = true
		return m.step(ctx, c, r, version, StepNoticed, report)
	default:
		return nil
	}
	return m.doom(ctx, c, r, version, report)
}

// doom writes a record that dooms material, and destroys that.
func (m *Manager) doom(ctx context.Context, c *call, r *record, version keystore.Version, report *Report) error {
	version, err := m.write(ctx, c, r, version)
	switch {
	case errors.Is(err, errStale):
		return nil
	case err != nil:
		return err
	}
	return m.destroy(ctx, c, r, version, report)
}

// step is tryStep, but if another process was quicker that is no error: the rest is left to the winner.
func (m *Manager) step(ctx context.Context, c *call, r *record, version keystore.Version, step Step, report *Report) error {
	if err := m.tryStep(ctx, c, r, version, step, report); !errors.Is(err, errStale) {
		return err
	}
	return nil
}

// tryStep writes a record, and tells of the step that was taken by it.
func (m *Manager) tryStep(ctx context.Context, c *call, r *record, version keystore.Version, step Step, report *Report) error {
	e := Event{Time: c.now(), Op: c.op, KeyID: r.id(), Instance: r.keys.ID(), Step: step}
	switch step {
	case StepRotated:
		e.KeyVersion = int(r.Primary)
	case StepNoticed:
		e.Notice = NoticeVersionsRunOut
	}
	_, err := m.write(ctx, c, r, version)
	return m.took(ctx, e, r.Seq, err, report)
}

// destroy has the provider destroy what a record dooms, and forgets it.
func (m *Manager) destroy(ctx context.Context, c *call, r *record, version keystore.Version, report *Report) error {
	if err := m.destroyDoomed(ctx, c, r); err != nil {
		report.Waiting = append(report.Waiting, r.id())
		return err
	}
	if err := m.foldUsage(ctx, c, r); err != nil {
		return err
	}
	r.forget(c.now())
	done := StepPurged
	switch {
	case !r.DestroyedAt.IsZero():
	case r.Origin == OriginKMS: // only such keys have versions to be retired
		done = StepRetired
	default:
		done = StepExpired
	}
	return m.step(ctx, c, r, version, done, report)
}

func (m *Manager) destroyDoomed(ctx context.Context, c *call, r *record) error {
	p, err := m.provider(c, r)
	if err != nil {
		return err
	}
	for i := range r.Doomed {
		v := &r.Doomed[i]
		material, err := m.material(c, r, v)
		if err != nil {
			return err
		}
		err = p.Destroy(ctx, versionID(r, v.Version), material)
		clear(material)
		if err != nil {
			return fromProvider(c.op, r.id(), err)
		}
	}
	return nil
}

// bury makes a record a tombstone: what remains is that the key was, and what leads to
// material that the provider still has to destroy.
func (r *record) bury(now time.Time) {
	bare, elsewhere := r.Bare, r.Elsewhere
	if r.DestroyedAt.IsZero() {
		bare, elsewhere = !r.leads(), len(r.Old) > 0
	}
	r.dropMaterial()
	*r = record{
		ID: r.ID, keys: r.keys, Seq: r.Seq, Spec: r.Spec, Usage: r.Usage, Origin: r.Origin, Protection: r.Protection,
		Owner: r.Owner, Service: r.Service, CreatedAt: r.CreatedAt, DeleteAt: r.DeleteAt, DueSeenAt: r.DueSeenAt, DestroyedAt: now, Doomed: r.Doomed,
		Bare: bare, Elsewhere: elsewhere, Was: r.proof(),
	}
	if len(r.Doomed) == 0 {
		r.forget(now)
	}
}

// dropMaterial takes the material from a record and dooms it.
func (r *record) dropMaterial() {
	r.Doomed = append(slices.Clip(r.Doomed), r.Versions...)
	r.Versions, r.MaterialUntil = nil, time.Time{}
}
