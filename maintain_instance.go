package kms

import (
	"context"
	"strings"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/keystore"
)

// InstanceReport tells what one pass of Maintain did to instances, by their IDs.
type InstanceReport struct {
	Noticed  []string // of whose end notice was given
	Noted    []string // whose grace was seen over for the first time
	Waiting  []string // whose grace is over, and which will be released by a later pass
	Released []string // whose key is destroyed now
}

// maintainInstances takes the next steps of every instance.
func (m *Manager) maintainInstances(ctx context.Context, c *call, report *Report) (failed []error) {
	if err := m.followRoot(ctx, c); err != nil {
		return []error{err}
	}
	oldest := m.oldestRoot.Load()
	for item, err := range m.store.List(ctx, instanceSegment, "") {
		if err != nil {
			return append(failed, c.storeFailed("", err))
		}
		id := strings.TrimPrefix(item.Name, instanceSegment)
		if id == DefaultInstance {
			continue
		}
		rec, err := m.readInstance(ctx, c, id, item.Value)
		if err == nil && !rec.lost(oldest) {
			err = m.maintainInstance(ctx, c, rec, item.Version, report)
		}
		if err != nil && !errors.Is(err, errStale) { // somebody was quicker: the rest is his
			failed = append(failed, err)
		}
	}
	return failed
}

func (m *Manager) maintainInstance(ctx context.Context, c *call, rec *instanceRecord, version keystore.Version, report *Report) error {
	over, noted := rec.state(c.now()) == InstanceReleased, !rec.OverSeenAt.IsZero() && !rec.OverSeenAt.After(c.now())
	switch {
	case rec.destroyed():
		return nil
	case !rec.ReleasedAt.IsZero():
		return waits(m.finishRelease(ctx, c, rec.ID, report), rec.ID, report)
	case over && !noted && m.purgeDelay > 0:
		rec.OverSeenAt = c.now()
		return m.instanceStep(ctx, c, rec, version, StepNoted, report)
	case over && noted && c.now().Sub(rec.OverSeenAt) < m.purgeDelay:
		report.Instances.Waiting = append(report.Instances.Waiting, rec.ID)
		return nil
	case over:
		return waits(m.releaseOver(ctx, c, rec, report), rec.ID, report)
	case !rec.OverSeenAt.IsZero(): // the clock was wrong when the note was made
		rec.OverSeenAt = time.Time{}
		return m.instanceStep(ctx, c, rec, version, StepCorrected, report)
	}
	due := rec.notice(c.now())
	if due == "" {
		return nil
	}
	protected, err := m.protectedIn(ctx, c, rec)
	if err != nil {
		return err
	}
	rec.Told = due
	e := Event{Time: c.now(), Op: c.op, Instance: rec.ID, Step: StepNoticed, Notice: due, Protected: protected}
	err = m.writeInstance(ctx, c, rec, version)
	return m.took(ctx, e, rec.Seq, err, report)
}

// releaseOver releases an instance whose grace is over.
func (m *Manager) releaseOver(ctx context.Context, c *call, rec *instanceRecord, report *Report) error {
	if err := m.askOnRelease(ctx, c, rec); err != nil {
		return err
	}
	// OnRelease may have backed the instance up, which is noted in its record.
	rec, version, err := m.getInstance(ctx, c, rec.ID)
	if err != nil {
		return err
	}
	if rec.state(c.now()) != InstanceReleased || rec.destroyed() { // it was renewed meanwhile, or released
		return errStale
	}
	return m.release(ctx, c, rec, version, report)
}

// waits notes in the report that the release of an instance failed, and waits for a later pass.
func waits(err error, id string, report *Report) error {
	if err != nil && !errors.Is(err, errStale) {
		report.Instances.Waiting = append(report.Instances.Waiting, id)
	}
	return err
}

// protectedIn are the first keys of an instance that are under deletion protection, which its end
// does not respect: for the notice, if there is an Observe.
func (m *Manager) protectedIn(ctx context.Context, c *call, rec *instanceRecord) ([]string, error) {
	if m.tell == nil {
		return nil, nil
	}
	s, err := m.survey(ctx, c, rec, nil)
	if refusedAs(err, ErrRoot) { // the notice is given all the same
		return nil, nil
	}
	return s.protected.first, err
}

// instanceStep writes the record of an instance, and tells of the step that was taken by it. If
// another process was quicker that is errStale.
func (m *Manager) instanceStep(ctx context.Context, c *call, rec *instanceRecord, version keystore.Version, step Step, report *Report) error {
	e := Event{Time: c.now(), Op: c.op, Instance: rec.ID, Step: step, Reason: c.reason}
	err := m.writeInstance(ctx, c, rec, version)
	return m.took(ctx, e, rec.Seq, err, report)
}

// Notice is something that a person should be told, in an Event: that an instance comes to
// its end, that a key is used which is about to be deleted, or that Run cannot do all it should.
type Notice string

// The notices. Those of an instance are told by Maintain, each once for each expiry, by the
// one process that came first; of several that are due only the latest. In a process that
// was killed just then one may get lost.
const (
	NoticeExpiresIn30Days Notice = "ExpiresIn30Days"
	NoticeExpiresIn7Days  Notice = "ExpiresIn7Days"
	NoticeExpiresIn3Days  Notice = "ExpiresIn3Days"
	NoticeExpiresIn1Day   Notice = "ExpiresIn1Day"
	NoticeExpired         Notice = "Expired"        // its keys are Unavailable
	NoticeReleasesIn1Day  Notice = "ReleasesIn1Day" // the last day on which it can be renewed

	// NoticeUsedPendingDeletion comes with the Event of a use that was refused because the key
	// is PendingDeletion: somebody still needs it. Its owner may want to cancel the deletion.
	NoticeUsedPendingDeletion Notice = "UsedPendingDeletion"

	// NoticeVersionsRunOut comes with an Event of Maintain: the rotation policy of the key will
	// meet the limit of versions, and is then Suspended. It is told once, when two rotations or
	// four weeks are left. RetireKeyVersions makes room.
	NoticeVersionsRunOut Notice = "VersionsRunOut"

	// NoticeCannotFollow comes with the error because of which Run does not see the changes that
	// other processes make. Calls look for them by themselves meanwhile, or are refused.
	NoticeCannotFollow Notice = "CannotFollow"
)

// endings are the notices of an instance in their order, by how long they come before its
// expiry. A notice after that has a negative time.
var endings = []struct {
	notice Notice
	before time.Duration
}{
	{NoticeExpiresIn30Days, 30 * 24 * time.Hour},
	{NoticeExpiresIn7Days, 7 * 24 * time.Hour},
	{NoticeExpiresIn3Days, 3 * 24 * time.Hour},
	{NoticeExpiresIn1Day, 24 * time.Hour},
	{NoticeExpired, 0},
	{NoticeReleasesIn1Day, -(GraceDays - 1) * 24 * time.Hour},
}

// notice is what is to be told of the end of an instance now; "": nothing that was not.
func (rec *instanceRecord) notice(now time.Time) (due Notice) {
	if rec.ExpiresAt.IsZero() || rec.state(now) == InstanceReleased {
		return ""
	}
	for _, e := range endings {
		if !now.Before(rec.ExpiresAt.Add(-e.before)) {
			due = e.notice
		}
		if e.notice == rec.Told {
			due = ""
		}
	}
	return due
}

// notice is what comes with the event of a call.
func (c *call) notice(err error) Notice {
	if lifecycle[c.op].isUse() && refusedAs(err, ErrPendingDeletion) {
		return NoticeUsedPendingDeletion
	}
	return ""
}
