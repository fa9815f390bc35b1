package kms

import (
	"context"
	"iter"
	"time"
)

// Tombstone says that a key was, and is deleted. A Restore into another key store is told of
// them, so that an old backup brings back no key that was deleted after it.
type Tombstone struct {
	KeyID     string    `json:"key"`
	Instance  string    `json:"instance"`
	DeletedAt time.Time `json:"deletedAt"` // the deletion date
}

// Tombstones yields the keys of all instances that are deleted, whether or not they were
// purged yet, ascending by ID. Those of instances that were released cannot be read, and are not
// among them. A key whose record was changed behind the service's back is yielded with its
// ID and ErrTampered, and the loop goes on; any other error ends it.
func (m *Manager) Tombstones(ctx context.Context) iter.Seq2[Tombstone, error] {
	return func(yield func(Tombstone, error) bool) {
		var err error
		c := m.begin(OpListTombstones)
		defer c.end(ctx, &err)
		if err = c.authorize(ctx, Request{}); err != nil {
			yield(Tombstone{}, err)
			return
		}
		for item, failed := range m.scan(ctx, c, "") {
			if item == nil {
				err = failed
				yield(Tombstone{}, err)
				return
			}
			if failed != nil {
				if !yield(Tombstone{KeyID: item.text}, failed) {
					return
				}
				continue
			}
			if t, gone := item.record.tombstone(c.now()); gone && !yield(t, nil) {
				return
			}
		}
	}
}

// tombstone is what is told of a key that is deleted.
func (r *record) tombstone(now time.Time) (_ Tombstone, gone bool) {
	t := Tombstone{KeyID: r.id(), Instance: r.in.id, DeletedAt: r.DeleteAt}
	if t.DeletedAt.IsZero() { // it went with its instance
		t.DeletedAt = r.DestroyedAt
	}
	return t, r.facts().state(now) == Deleted
}
