package kms

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/sealing"
)

// DefaultInstance is the instance that every key store has. It never expires, is never
// released, and takes keys of both protection levels. A program that does not care about
// instances never meets another.
const DefaultInstance = "default"

// GraceDays is for how many days of 24 hours an instance that expired can be renewed.
const GraceDays = 15

// Bounds of what a caller may give.
const (
	MaxInstanceID   = 64  // characters of an instance's ID
	MaxInstanceName = 128 // characters of its name
)

// Instance is a key store of its own within the key store: an exclusive set of keys with an
// instance key of theirs and an end of their own. An instance for each tenant is the point:
// one subscription ends, one tenant is released, and all that was his is unreadable by one
// write.
type Instance struct {
	ID         string
	Name       string
	State      InstanceState
	Protection Protection // of its keys; "" in the default instance: either

	CreatedAt    time.Time
	ExpiresAt    time.Time // from then on its keys are unavailable; zero: never
	ReleasesAt   time.Time // from then on its keys are gone: ExpiresAt and 15 times 24 hours; zero: never
	ReleasedAt   time.Time // when its key was destroyed; zero: it was not yet
	BackedUpAt   time.Time // when the last backup of it was complete; zero: never
	ReleasedWhy  string    // the reason that ReleaseInstance was given
	Protected    bool      // deletion protection is on: it cannot be released by hand
	ProtectedWhy string    // and why
	ReleaseOnly  bool      // and does not cover its keys
	KeyedAt      time.Time // when Shred made its present instance key; zero: it has the first
	Shredding    bool      // a Shred was begun and not finished
	RootedAt     time.Time // when RotateRoot last sealed its key; zero: never

	// PendingDeletions is how many of its keys are PendingDeletion. SetInstanceDeletionProtection
	// alone fills it in, and leaves it 0 if the root does not open the instance.
	PendingDeletions int
}

// InstanceState is what an instance is at an instant. It follows from its dates and the
// clock, as a key's State does. The zero InstanceState is none.
type InstanceState uint8

// The states of an instance.
const (
	instanceNone InstanceState = iota

	// InstanceActive: its keys are what they are.
	InstanceActive

	// InstanceExpired: its keys are Unavailable, until it is renewed. So for 15 times 24 hours.
	InstanceExpired

	// InstanceReleased: its keys are gone, unless a backup is restored.
	InstanceReleased
)

var instanceStateNames = [...]string{"none", "Active", "Expired", "Released"}

// String returns the state's name, such as "Expired".
func (s InstanceState) String() string {
	if int(s) >= len(instanceStateNames) {
		return instanceStateNames[instanceNone]
	}
	return instanceStateNames[s]
}

// InstanceOptions says what instance to create. The zero value of each field is its default.
type InstanceOptions struct {
	ID         string     // 1 to 64 characters out of a-z 0-9 -; one that was never used. Made, if empty
	Name       string     // up to 128 characters, for people
	Protection Protection // of all its keys; ProtectionSoftware, or the only level that the Manager offers
	ExpiresAt  time.Time  // in the future; zero is never
}

// CreateInstance makes an instance, Active and empty. It is refused with ErrExists where
// there is or was one of that ID, with ErrInvalid where an option is out of bounds, and with
// ErrRoot where another process rotated the root: then nothing was made, and the call can be
// repeated under the same ID by a Manager that was opened with the new root.
func (m *Manager) CreateInstance(ctx context.Context, opts *InstanceOptions) (_ Instance, err error) {
	c := m.begin(OpCreateInstance)
	defer c.end(ctx, &err)
	var o InstanceOptions
	if opts != nil {
		o = *opts
	}
	if err := c.enter(ctx); err != nil {
		return Instance{}, err
	}
	if o.ID == "" {
		o.ID = m.ids.Next(c.now()).String()
	}
	level, err := m.level(c.op, o.Protection)
	switch {
	case err != nil:
		return Instance{}, err
	case !validInstanceID(o.ID):
		return Instance{}, badInstanceID(c.op)
	case !o.ExpiresAt.IsZero() && !o.ExpiresAt.After(c.now()):
		return Instance{}, invalid(c.op, "InstanceOptions.ExpiresAt is not in the future")
	}
	if err := checkText(c.op, o.Name, "instance's name", MaxInstanceName); err != nil {
		return Instance{}, err
	}
	if err := c.authorizeInstance(ctx, o.ID); err != nil {
		return Instance{}, err
	}
	rec := instanceRecord{
		ID: o.ID, Store: m.home.Load().keys.StoreID(), Name: o.Name, Protection: level,
		CreatedAt: c.now(), ExpiresAt: o.ExpiresAt.Round(0).UTC(),
	}
	by, home, err := m.sealers(ctx, c)
	if err != nil {
		return Instance{}, err
	}
	keys, err := rec.newKey(c.op, by)
	if err != nil {
		return Instance{}, err
	}
	if err := m.createInstance(ctx, c, &rec, home); errors.Is(err, errStale) {
		return Instance{}, instanceTaken(c.op, o.ID)
	} else if err != nil {
		return Instance{}, err
	}
	m.keepOpened(keys)
	return rec.describe(c.now()), nil
}

// DescribeInstance returns what is known of an instance, also of one that was released.
func (m *Manager) DescribeInstance(ctx context.Context, id string) (_ Instance, err error) {
	c := m.begin(OpDescribeInstance)
	defer c.end(ctx, &err)
	rec, err := m.namedInstance(ctx, c, id)
	if err != nil {
		return Instance{}, err
	}
	return rec.describe(c.now()), nil
}

// Instances yields all instances, ascending by ID, those that were released too. One whose
// record was changed behind the service's back is yielded with its ID and ErrTampered, and
// the loop goes on; any other error ends it.
func (m *Manager) Instances(ctx context.Context) iter.Seq2[Instance, error] {
	return func(yield func(Instance, error) bool) {
		yield = endedIn(ctx, yield)
		var err error
		c := m.begin(OpListInstances)
		defer c.end(ctx, &err)
		if err = c.authorize(ctx, Request{}); err != nil {
			yield(Instance{}, err)
			return
		}
		if err = m.followRoot(ctx, c); err != nil {
			yield(Instance{}, err)
			return
		}
		oldest := m.oldestRoot.Load()
		for item, failed := range m.store.List(ctx, instanceSegment, "") {
			if failed != nil {
				err = c.storeFailed("", failed)
				yield(Instance{}, err)
				return
			}
			id := strings.TrimPrefix(item.Name, instanceSegment)
			rec, tampered := m.readInstance(ctx, c, id, item.Value)
			if tampered != nil {
				if !yield(Instance{ID: id}, tampered) {
					return
				}
				continue
			}
			if !rec.lost(oldest) && !yield(rec.describe(c.now()), nil) {
				return
			}
		}
	}
}

// RenewInstance moves the expiry of an instance to a later date, or with the zero time takes
// it away. An Expired instance is Active again, with every key as it was, but for what the
// clock did meanwhile. A Released one is not renewed: ErrNotFound. A date that is not
// later than the one that there is, or not in the future, is ErrInvalid.
func (m *Manager) RenewInstance(ctx context.Context, id string, until time.Time) (Instance, error) {
	return m.updateInstance(ctx, OpRenewInstance, id, nil, func(c *call, rec *instanceRecord) error {
		if !until.IsZero() && (!until.After(c.now()) || rec.ExpiresAt.IsZero() || !until.After(rec.ExpiresAt)) {
			return invalid(c.op, "the new expiry is not later than the one that there is, or not in the future")
		}
		rec.ExpiresAt = until.Round(0).UTC()
		rec.Told, rec.OverSeenAt = "", time.Time{}
		return nil
	})
}

// InstanceProtection is the deletion protection of an instance.
type InstanceProtection struct {
	On          bool
	ReleaseOnly bool   // it stops ReleaseInstance and does not cover the keys; only with On, and not for the default instance
	Reason      string // up to 8192 characters, kept while it is on. It stands in the error of a call that is refused
}

// SetInstanceDeletionProtection switches an instance's deletion protection on or off. While it is
// on, ReleaseInstance is refused, by force too, and it covers the keys: their deletion is not
// scheduled, and DeleteKeyMaterial is not done but by force. With ReleaseOnly it does not cover
// them. What a date does it does not stop: the expiry of the instance, or of material, and
// deletions that are scheduled already. Instance.PendingDeletions of the answer counts those;
// CancelKeyDeletion takes one back. To learn it, the call reads all keys of the instance: where
// the store fails at that the error says that the outcome is unknown.
func (m *Manager) SetInstanceDeletionProtection(ctx context.Context, id string, p InstanceProtection) (_ Instance, err error) {
	c := m.begin(OpSetInstanceDeletionProtection)
	defer c.end(ctx, &err)
	if err := p.check(c.op, id); err != nil {
		return Instance{}, err
	}
	if err := c.nameInstance(ctx, id); err != nil {
		return Instance{}, err
	}
	err = c.retry(ctx, "", func() error { // what the answer needs is there before anything has changed
		rec, _, err := m.getInstance(ctx, c, id)
		if err == nil {
			_, err = m.openInstance(ctx, c, rec)
		}
		return err
	})
	if err != nil && !refusedAs(err, ErrRoot) { // protection is switched whatever the root opens
		return Instance{}, err
	}
	rec, err := m.changeInstance(ctx, c, id, func(_ *call, rec *instanceRecord) error {
		rec.Protected, rec.ReleaseOnly, rec.ProtectedWhy = p.On, p.ReleaseOnly, ""
		if p.On {
			rec.ProtectedWhy = p.Reason
		}
		return nil
	})
	if err != nil {
		return Instance{}, err
	}
	s, err := m.survey(ctx, c, rec, nil)
	if err != nil && !refusedAs(err, ErrRoot) {
		return Instance{}, outcomeUnknown(c.op, "", err)
	}
	in := rec.describe(c.now())
	in.PendingDeletions = s.pending
	return in, nil
}

// check refuses a protection that would protect nothing.
func (p InstanceProtection) check(op Op, id string) error {
	switch {
	case p.ReleaseOnly && !p.On:
		return invalid(op, "ReleaseOnly is for a protection that is on")
	case p.ReleaseOnly && id == DefaultInstance:
		return &refusal{op: op, inst: id, cond: ErrInvalid, text: "the default instance is not released, so ReleaseOnly would protect nothing",
			hint: "Leave ReleaseOnly out: the protection then covers the keys of the instance."}
	}
	return checkText(op, p.Reason, "reason", MaxDescription)
}

// instanceNamed is the instance that an item says it is authenticated by.
func instanceNamed(value []byte) (id string, ok bool) {
	id, ok = sealing.Named(value)
	return id, ok && validInstanceID(id)
}

func validInstanceID(id string) bool {
	return id != "" && len(id) <= MaxInstanceID && only(id, "abcdefghijklmnopqrstuvwxyz0123456789-")
}
