package kms

import (
	"context"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

// errStale is write's answer where the record is not what was read any more.
var errStale = errors.New("kms: the record was changed meanwhile")

// write puts a record with its next sequence number in place of the version that it was
// read at, or says errStale.
func (m *Manager) write(ctx context.Context, c *call, r *record, old keystore.Version) (keystore.Version, error) {
	if err := m.noteDue(ctx, c, r); err != nil {
		return "", err
	}
	r.Seq++
	name := keyItem(r.id())
	value, err := r.keys.Encode(name, r)
	if err != nil {
		return "", written(c.op, r.id(), err)
	}
	known := m.latestKeys.Before(r.ID)
	version, err := m.store.Put(ctx, name, old, value)
	if err == nil {
		m.latestKeys.Saw(r.ID, r.Seq, known)
	}
	if old != "" {
		m.keys.Drop(r.ID)
	} else if err == nil {
		version, err = m.created(ctx, c, r, version)
	}
	return version, written(c.op, r.id(), err)
}

// written is what callers learn of a Put. All that callers give has its bounds; the clock has not,
// and a date may be one that cannot be written.
func written(op Op, keyID string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keystore.ErrConflict):
		return errStale
	case errors.Is(err, sealing.ErrTooLarge):
		what := "what is to be written"
		if keyID != "" {
			what = "all that is known of the key"
		}
		return &refusal{op: op, keyID: keyID, cond: ErrLimit, text: what + " is more than 512 KiB",
			hint: "Remove dependents and tags, or shorten the description and the notes; or move on to a new key with ReEncrypt."}
	case errors.Is(err, sealing.ErrItem):
		return badDate(op)
	default:
		return outcomeUnknown(op, keyID, err)
	}
}

// update is the only way in which a call changes a key: read it, decide, change it, and
// write it if it is still what was read; else again from the start. What changes
// nothing writes nothing. An argument that is bad is refused before all that.
func (m *Manager) update(ctx context.Context, op Op, ref string, bad error, change func(c *call, r *record) error) (Key, error) {
	return m.updateAs(ctx, "", op, ref, bad, change)
}

// updateAs is update by the view of a service; "" is the Manager itself.
func (m *Manager) updateAs(ctx context.Context, service string, op Op, ref string, bad error, change func(c *call, r *record) error) (key Key, err error) {
	c := m.begin(op)
	c.service = service
	defer c.end(ctx, &err)
	if bad != nil {
		return Key{}, bad
	}
	id, err := m.resolve(ctx, c, ref)
	if err != nil {
		return Key{}, err
	}
	err = c.retry(ctx, id.String(), func() error {
		e, err := m.load(ctx, c, id)
		if err != nil {
			return err
		}
		c.reread() // time passed: a deletion date may have come
		ie, err := m.allow(ctx, c, e.record)
		if err != nil {
			return err
		}
		r := e.record.clone()
		if err := change(c, r); err != nil {
			return err
		}
		if !r.equal(e.record) {
			r.settle(c.now())
			if _, err := m.write(ctx, c, r, e.version); err != nil {
				return err
			}
		}
		key = m.describe(r, ie, c.now())
		return nil
	})
	return key, err
}

// retry calls step until it no longer loses the race for an item, or until ctx ends. Step returns
// errStale when it lost.
func (c *call) retry(ctx context.Context, keyID string, step func() error) error {
	for {
		if err := step(); !errors.Is(err, errStale) {
			return err
		}
		if ctx.Err() != nil {
			return unavailable(c.op, keyID, "", context.Cause(ctx))
		}
	}
}

// storeFailed reports that the key store did not answer.
func (c *call) storeFailed(keyID string, err error) error {
	return unavailable(c.op, keyID, "the key store", err)
}
