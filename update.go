package kms

import (
	"context"
	"encoding/base64"
	"strconv"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

// errStale is write's answer where the record is not what was read any more.
var errStale = errors.New("kms: the record was changed meanwhile")

// write puts a record with its next sequence number in place of the version that it was
// read at, or says errStale.
func (m *Manager) write(ctx context.Context, c *call, r *record, old keystore.Version) (keystore.Version, error) {
	if err := r.checkRoom(c.op, old == ""); err != nil {
		return "", err
	}
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

// What a record holds is in parts, each with a bound of its own, in bytes as they are stored, so
// that no part takes the room of another. Together they leave maxRest for all else: the facts
// that decide about the key, and the reasons that go with them. So what makes a key stricter
// always fits.
const (
	maxAnnotations = 192 << 10
	maxVersionData = 384 << 10
	maxOld         = 256 << 10
	maxRest        = 64 << 10

	_ = uint(sealing.MaxBody - (maxAnnotations + maxVersionData + maxOld + maxRest)) // they fit
)

// A part is what an operation may add to in a record.
type part struct {
	what string
	most int
	size func(*record) int
	hint string
}

var recordParts = []part{
	{"its description, tags and dependents", maxAnnotations, (*record).annotationData,
		"Shorten the description, or remove tags or dependents that are no longer needed."},
	{"the material of its versions", maxVersionData, (*record).versionData,
		"Retire versions that nothing needs any more with RetireKeyVersions, or move on to a new key with ReEncrypt."},
	{"the versions that it had in another system", maxOld, (*record).oldData,
		"Create a new key, and move the data to it with ReEncrypt."},
}

// checkRoom refuses an operation that adds to a record and makes a part of it longer than its
// bound. What adds nothing is never refused, nor is what makes the part shorter.
func (r *record) checkRoom(op Op, isNew bool) error {
	if !lifecycle[op].adds {
		return nil
	}
	for _, p := range recordParts {
		size := p.size(r)
		if size > p.most && (isNew || r.was == nil || size > p.size(r.was)) {
			return &refusal{op: op, keyID: r.id(), cond: ErrLimit, text: p.what + " take more than " + kib(p.most), hint: p.hint}
		}
	}
	return nil
}

func kib(bytes int) string { return strconv.Itoa(bytes>>10) + " KiB" }

// annotationData is the size of all that callers say of a key.
func (r *record) annotationData() int {
	said, err := sealing.JSON(struct {
		Description string
		Tags        map[string]string
		Dependents  []Dependent
	}{r.Description, r.Tags, r.Dependents})
	if err != nil {
		return maxAnnotations + 1
	}
	return len(said)
}

// versionData is the size of the key's own versions, and of those that are yet to be destroyed.
func (r *record) versionData() (n int) {
	for _, list := range [][]keyVersion{r.Versions, r.Doomed} {
		for i := range list {
			n += list[i].size()
		}
	}
	return n
}

// size is how many bytes a version takes in a record, at most.
func (v *keyVersion) size() int {
	const rest = len(`{"version":4294967295,"created":"2006-01-02T15:04:05.999999999Z","sealed":""},`)
	return rest + base64.StdEncoding.EncodedLen(len(v.Sealed))
}

// oldData is the size of what a record holds of a key's life in another system.
func (r *record) oldData() int {
	old, err := sealing.JSON(r.Old)
	if err != nil {
		return maxOld + 1
	}
	return len(old)
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
		return &refusal{op: op, keyID: keyID, cond: ErrLimit, text: "what is to be written is more than " + kib(sealing.MaxBody),
			hint: "Make what is to be written shorter. For an instance, that is what its root adds to the sealed key."}
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
func (m *Manager) updateAs(ctx context.Context, service string, op Op, ref string, bad error, change func(c *call, r *record) error) (Key, error) {
	c := m.begin(op)
	c.service = service
	return m.updateIn(ctx, c, ref, bad, change)
}

// updateIn is update within a call that has begun, and ends it.
func (m *Manager) updateIn(ctx context.Context, c *call, ref string, bad error, change func(c *call, r *record) error) (key Key, err error) {
	defer c.end(ctx, &err)
	if err := c.enter(ctx); err != nil {
		return Key{}, err
	}
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
