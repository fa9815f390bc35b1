package kms

import (
	"context"
	"slices"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/keystore"
)

// Report tells what one pass of Maintain found and did. A purge whose last write was made,
// and whose answer was lost, is in no report: the next pass finds nothing left to do.
type Report struct {
	Keys     int      // records that were looked at: of keys that are due, and once in 24 hours of all
	Noted    []string // IDs of keys whose deletion date was seen passed for the first time
	Purged   []string // IDs of keys whose material is destroyed now
	Expired  []string // IDs of keys whose imported material was over, and is destroyed now
	Rotated  []string // IDs of keys that got a new version because their policy asked for it
	Waiting  []string // IDs of keys that are due, and will be purged by a later pass
	Tampered []string // of those, IDs under which something stands that this service did not write

	Instances InstanceReport
}

// Maintain does all that time asks for, once. Nothing depends on when it runs: a key
// whose deletion date has come is Deleted at that instant. What it adds is that the
// material is destroyed: it notes that it saw the date passed, and PurgeDelay later
// leaves a tombstone in the record's place, has the provider destroy the key, and
// forgets what led to it. The same for instances whose grace is over; and it gives notice
// of those that come to their end, keeps what is known of the use of keys, and rotates. It is
// safe on every node at once and may be killed at any point; the next pass finishes. Where nothing
// is due it reads the record of no key, but once in 24 hours it looks at all. A key that fails does not keep the others: the errors
// are joined, and the report says what was done nonetheless.
func (m *Manager) Maintain(ctx context.Context) (report Report, err error) {
	c := m.begin(OpMaintain)
	defer c.end(ctx, &err)
	if err := c.authorize(ctx, Request{}); err != nil {
		return report, err
	}
	failed := m.maintainInstances(ctx, c, &report)
	failed = append(failed, m.maintainKeys(ctx, c, &report)...)
	if err := m.flushUsage(ctx, c); err != nil {
		failed = append(failed, err)
	}
	return report, errors.Join(failed...)
}

// Run does Maintain at once and then every minute, until ctx ends, and returns ctx's cause,
// which is no refusal of this package. What a pass could not do is told to Observe and
// tried again by the next. A program that runs neither this nor Maintain destroys nothing.
//
// Where other processes share the store, and MaxStaleness is not zero, Run also looks for
// their changes three times within it, so that calls need not, and at once where the store
// tells of them. The goroutines that it starts for this have ended when it returns.
func (m *Manager) Run(ctx context.Context) error {
	if err := m.begin(OpMaintain).enter(ctx); refusedAs(err, ErrInvalid) {
		return err
	}
	defer m.keepFresh(ctx)()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		_, _ = m.Maintain(ctx) // Observe has been told
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// maintainKey takes the next steps of one key, if time asks for any. Each step is one write;
// whoever loses the race for it leaves the rest to the winner.
func (m *Manager) maintainKey(ctx context.Context, c *call, r *record, ie *instanceEntry, version keystore.Version, report *Report) error {
	f := r.facts()
	due, noted := f.due(c.now()), !r.DueSeenAt.IsZero() && !r.DueSeenAt.After(c.now())
	switch {
	case len(r.Doomed) > 0:
		return m.destroy(ctx, c, r, version, report)
	case f.destroyed:
		return nil
	case due && !noted && m.purgeDelay > 0:
		r.DueSeenAt = c.now()
		return m.step(ctx, c, r, version, &report.Noted)
	case due && noted && c.now().Sub(r.DueSeenAt) < m.purgeDelay:
		report.Waiting = append(report.Waiting, r.id())
		return nil
	case due:
		r.bury(c.now())
	case !r.DueSeenAt.IsZero(): // the clock was wrong when the note was made
		r.settle(c.now())
		return m.step(ctx, c, r, version, nil)
	case f.material && f.expired(c.now()):
		r.dropMaterial()
	case r.rotationDue(r.state(ie, c.now()), c.now()):
		if err := m.addVersion(ctx, c, r); err != nil {
			return err
		}
		return m.step(ctx, c, r, version, &report.Rotated)
	default:
		return nil
	}
	version, err := m.write(ctx, c, r, version)
	switch {
	case errors.Is(err, errStale):
		return nil
	case err != nil:
		return err
	}
	return m.destroy(ctx, c, r, version, report)
}

// step writes a record and notes its key in a list of the report. Where somebody else was
// quicker that is no error: the rest is left to the winner.
func (m *Manager) step(ctx context.Context, c *call, r *record, version keystore.Version, list *[]string) error {
	switch _, err := m.write(ctx, c, r, version); {
	case errors.Is(err, errStale):
		return nil
	case err != nil:
		return err
	case list != nil:
		*list = append(*list, r.id())
	}
	return nil
}

// destroy has the provider destroy what a record dooms, and forgets it.
func (m *Manager) destroy(ctx context.Context, c *call, r *record, version keystore.Version, report *Report) error {
	if err := m.destroyDoomed(ctx, c, r); err != nil {
		report.Waiting = append(report.Waiting, r.id())
		return err
	}
	r.forget(c.now())
	done := &report.Purged
	if r.DestroyedAt.IsZero() {
		done = &report.Expired
	}
	return m.step(ctx, c, r, version, done)
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
	r.dropMaterial()
	*r = record{
		ID: r.ID, keys: r.keys, Seq: r.Seq, Spec: r.Spec, Usage: r.Usage, Origin: r.Origin, Protection: r.Protection,
		Owner: r.Owner, Service: r.Service, CreatedAt: r.CreatedAt, DeleteAt: r.DeleteAt, DueSeenAt: r.DueSeenAt, DestroyedAt: now, Doomed: r.Doomed,
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
