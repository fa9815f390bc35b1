package kms

import (
	"context"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

const (
	// fullPassEvery is how long Maintain goes by the due index alone. It is looked at by all
	// processes together: the first whose pass comes then reads all records.
	fullPassEvery = 24 * time.Hour

	// lookAgain is for how long Maintain looks again at what was due: a call may have
	// noted that its key is due, and be slow to write the record.
	lookAgain = time.Hour
)

// fullPassItem holds when the last full pass began.
const (
	maintainSegment = "maintain/"
	fullPassItem    = maintainSegment + "full-pass"
)

type fullPass struct {
	BegunAt time.Time `json:"begunAt"`
}

// A duePass is a pass of this process: when it was, how far it left nothing to do, and the full
// pass that it came after. After another full pass that counts no more: the clock may have been
// set back.
type duePass struct{ at, through, full time.Time }

// maintainKeys takes the next steps of the keys that are due; of all, where that was not done
// for a day, and where the clock was set back, so that no note of a wrong clock stays.
func (m *Manager) maintainKeys(ctx context.Context, c *call, report *Report) (failed []error) {
	last, version, err := m.loadFullPass(ctx, c)
	if err != nil {
		return []error{err}
	}
	mine := m.looked.Load()
	setBack := mine != nil && c.now().Before(mine.at)
	if age := c.now().Sub(last.BegunAt); 0 <= age && age < fullPassEvery && !setBack {
		return m.maintainDue(ctx, c, last, report)
	}
	return m.maintainAll(ctx, c, version, report)
}

// maintainDue takes the next steps of the keys that the due index names.
func (m *Manager) maintainDue(ctx context.Context, c *call, last fullPass, report *Report) (failed []error) {
	from, through := m.lookedThrough(last), c.now().Add(-lookAgain)
	looked := map[keyid.ID]bool{} // and whether there is something left to do
	for item, err := range m.store.List(ctx, dueSegment, dueSegment+from.Format(dueMinute)) {
		if err != nil {
			return append(failed, c.storeFailed("", err))
		}
		at, id, ok := parseDue(item.Name)
		if !ok {
			continue
		}
		if at.After(c.now()) {
			break
		}
		pending, known := looked[id]
		if !known {
			if pending, err = m.maintainOne(ctx, c, id, report); err != nil {
				failed = append(failed, err)
			}
			looked[id] = pending
		}
		if pending && at.Before(through) {
			through = at
		}
	}
	m.looked.Store(&duePass{at: c.now(), through: through, full: last.BegunAt})
	return failed
}

// lookedThrough is up to when nothing is left of what was due: what this process found, and before
// its first pass since then what the last full pass did.
func (m *Manager) lookedThrough(last fullPass) time.Time {
	full := last.BegunAt.Add(-lookAgain)
	if mine := m.looked.Load(); mine != nil && mine.full.Equal(last.BegunAt) && mine.through.After(full) {
		return mine.through
	}
	return full
}

// maintainOne takes the next steps of one key, and tells whether there is something left to do.
func (m *Manager) maintainOne(ctx context.Context, c *call, id keyid.ID, report *Report) (pending bool, err error) {
	item, err := m.store.Get(ctx, keyItem(id.String()))
	switch {
	case errors.Is(err, keystore.ErrNotFound): // it was not made after all
		return false, nil
	case err != nil:
		return true, c.storeFailed(id.String(), err)
	}
	s, err := m.scanItem(ctx, c, item)
	if s == nil {
		return err != nil, err
	}
	return m.maintainScanned(ctx, c, s, err, report)
}

// maintainScanned takes the next steps of a key that was read, or reports what stands in its
// place.
func (m *Manager) maintainScanned(ctx context.Context, c *call, s *scanned, failed error, report *Report) (pending bool, err error) {
	report.Keys++
	if failed != nil {
		if refusedAs(failed, ErrTampered) {
			report.Tampered = append(report.Tampered, s.text)
		}
		return false, failed
	}
	err = m.maintainKey(ctx, c, s.record, s.home, s.version, report)
	next := m.next(s.record)
	return err != nil || (!next.IsZero() && !next.After(c.now())), err
}

// maintainAll takes the next steps of all keys, and sees to it that the due index has all that it
// should have.
func (m *Manager) maintainAll(ctx context.Context, c *call, version keystore.Version, report *Report) (failed []error) {
	known, err := m.allDue(ctx, c)
	if err != nil {
		return []error{err}
	}
	whole := true
	for s, err := range m.scan(ctx, c, "") {
		if s == nil {
			return append(failed, err)
		}
		pending, err := m.maintainScanned(ctx, c, s, err, report)
		if err != nil {
			failed = append(failed, err)
		}
		if s.record == nil {
			continue
		}
		next := m.next(s.record)
		if pending {
			next = c.now()
		}
		if next.IsZero() || known[dueItem(next, s.record.ID)] {
			continue
		}
		if err := m.putDue(ctx, c, next, s.record.ID); err != nil {
			failed, whole = append(failed, err), false
		}
	}
	if whole {
		m.looked.Store(&duePass{at: c.now()})
		if err := m.keepFullPass(ctx, c, version); err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// allDue is what the due index holds from now on.
func (m *Manager) allDue(ctx context.Context, c *call) (map[string]bool, error) {
	known := map[string]bool{}
	for item, err := range m.store.List(ctx, dueSegment, dueSegment+c.now().Format(dueMinute)) {
		if err != nil {
			return nil, c.storeFailed("", err)
		}
		known[item.Name] = true
	}
	return known, nil
}

// loadFullPass reads when the last full pass was. What somebody else wrote there is as nothing.
func (m *Manager) loadFullPass(ctx context.Context, c *call) (last fullPass, version keystore.Version, err error) {
	version, err = m.getHome(ctx, c, fullPassItem, "", &last, sealing.ErrItem)
	if errors.Is(err, sealing.ErrItem) {
		return fullPass{}, version, nil
	}
	return last, version, err
}

func (m *Manager) keepFullPass(ctx context.Context, c *call, version keystore.Version) error {
	err := m.putHome(ctx, c, fullPassItem, version, fullPass{BegunAt: c.now()})
	if err = written(c.op, "", err); errors.Is(err, errStale) { // another process had a full pass
		return nil
	}
	return err
}
