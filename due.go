package kms

import (
	"context"
	"strings"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/keystore"
)

// The due index tells Maintain which keys to look at, and when. An item of it is a name alone,
//
//	due/<minute>/<key ID>
//
// and stands in the store before the record that has something to be done at that minute is
// written. So a call that is killed between the two leaves a look that finds nothing, and never a
// date that nobody looks at. Items are made and never changed; Maintain goes past them. One that
// somebody forges costs a look. One that somebody takes away, and one whose record was written so
// late that Maintain had gone past it, is missed until the next full pass (fullPassEvery).
const (
	dueSegment = "due/"
	dueMinute  = "20060102T1504"
)

// longAgo is a time that is past for everybody.
var longAgo = time.Unix(60, 0)

// next is when there is something to do to a key as it is; zero: never. What is long ago is yet
// to be finished, or to be tried again.
func (m *Manager) next(r *record) time.Time {
	f := r.facts()
	switch {
	case len(r.Doomed) > 0:
		return longAgo
	case f.destroyed:
		return time.Time{}
	case !r.DueSeenAt.IsZero():
		return r.DueSeenAt
	}
	next := earliest(r.DeleteAt, r.RetireAt)
	if f.material {
		next = earliest(next, r.MaterialUntil)
	}
	if f.material && !f.disabled && r.DeleteAt.IsZero() {
		o := m.rotation(r, Enabled)
		if o.Status == RotationEnabled {
			next = earliest(next, o.Next)
		}
		if !r.RunsOutTold {
			next = earliest(next, o.noticeAt())
		}
	}
	return next
}

// earliest is the earlier of two times, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

func dueItem(at time.Time, id keyid.ID) string {
	return dueSegment + at.UTC().Format(dueMinute) + "/" + id.String()
}

// parseDue reads what dueItem wrote, and nothing else.
func parseDue(name string) (at time.Time, id keyid.ID, ok bool) {
	minute, text, _ := strings.Cut(strings.TrimPrefix(name, dueSegment), "/")
	at, err := time.Parse(dueMinute, minute)
	if id, ok = keyid.Parse(text); !ok || err != nil || dueItem(at, id) != name {
		return time.Time{}, keyid.ID{}, false
	}
	return at, id, true
}

// noteDue has Maintain look at a key when there is something to do to it, as it is going to be
// written.
func (m *Manager) noteDue(ctx context.Context, c *call, r *record) error {
	at := m.next(r)
	if at.IsZero() {
		return nil
	}
	return m.putDue(ctx, c, at, r.ID)
}

// putDue has Maintain look at a key at a time, or now where that is past.
func (m *Manager) putDue(ctx context.Context, c *call, at time.Time, id keyid.ID) error {
	if now := m.now(); at.Before(now) {
		at = now
	}
	_, err := m.store.Put(ctx, dueItem(at, id), "", nil)
	if err != nil && !errors.Is(err, keystore.ErrConflict) { // it stands there
		return c.storeFailed(id.String(), err)
	}
	return nil
}
