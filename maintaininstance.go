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
	for item, err := range m.store.List(ctx, instanceSegment, "") {
		if err != nil {
			return append(failed, unavailable(c.op, "", "the key store", err))
		}
		id := strings.TrimPrefix(item.Name, instanceSegment)
		if id == DefaultInstance {
			continue
		}
		rec, err := m.readInstance(ctx, c, id, item.Value)
		if err == nil {
			err = m.maintainInstance(ctx, c, rec, item.Version, &report.Instances)
		}
		if err != nil && !errors.Is(err, errStale) { // somebody was quicker: the rest is his
			failed = append(failed, err)
		}
	}
	return failed
}

func (m *Manager) maintainInstance(ctx context.Context, c *call, rec *instanceRecord, version keystore.Version, report *InstanceReport) error {
	over, noted := rec.state(c.now()) == InstanceReleased, !rec.OverSeenAt.IsZero() && !rec.OverSeenAt.After(c.now())
	switch {
	case len(rec.Sealed) == 0:
		return nil
	case !rec.ReleasedAt.IsZero():
		return reported(m.finishRelease(ctx, c, rec.ID), rec.ID, report)
	case over && !noted && m.purgeDelay > 0:
		rec.OverSeenAt = c.now()
		return m.instanceStep(ctx, c, rec, version, &report.Noted)
	case over && noted && c.now().Sub(rec.OverSeenAt) < m.purgeDelay:
		report.Waiting = append(report.Waiting, rec.ID)
		return nil
	case over:
		return reported(m.releaseOver(ctx, c, rec), rec.ID, report)
	case !rec.OverSeenAt.IsZero(): // the clock was wrong when the note was made
		rec.OverSeenAt = time.Time{}
		return m.instanceStep(ctx, c, rec, version, nil)
	}
	due := rec.notice(c.now())
	if due == "" {
		return nil
	}
	rec.Told = due
	if err := m.instanceStep(ctx, c, rec, version, &report.Noticed); err != nil {
		return err
	}
	m.giveNotice(ctx, c, due, rec)
	return nil
}

// releaseOver releases an instance whose grace is over.
func (m *Manager) releaseOver(ctx context.Context, c *call, rec *instanceRecord) error {
	if err := m.askOnRelease(ctx, c, rec); err != nil {
		return err
	}
	// OnRelease may have backed the instance up, which is noted in its record.
	rec, version, err := m.getInstance(ctx, c, rec.ID)
	if err != nil {
		return err
	}
	if rec.state(c.now()) != InstanceReleased || len(rec.Sealed) == 0 { // it was renewed meanwhile, or released
		return errStale
	}
	return m.release(ctx, c, rec, version)
}

func reported(err error, id string, report *InstanceReport) error {
	switch {
	case err == nil:
		report.Released = append(report.Released, id)
	case !errors.Is(err, errStale):
		report.Waiting = append(report.Waiting, id)
	}
	return err
}

// instanceStep writes the record of an instance and notes it in a list of the report.
func (m *Manager) instanceStep(ctx context.Context, c *call, rec *instanceRecord, version keystore.Version, list *[]string) error {
	if err := m.writeInstance(ctx, c, rec, version); err != nil {
		return err
	}
	if list != nil {
		*list = append(*list, rec.ID)
	}
	return nil
}

// giveNotice tells Observe what is due of an instance, if this process is the first to.
func (m *Manager) giveNotice(ctx context.Context, c *call, due Notice, rec *instanceRecord) {
	if m.tell != nil {
		m.tell(ctx, Event{Time: c.now(), Op: c.op, Instance: rec.ID, Notice: due})
	}
}
