package kms

import (
	"time"
)

// Notice is something that a person should be told, in an Event: that an instance comes to
// its end, or that a key is used which is about to be deleted.
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
