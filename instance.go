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
	Protected    bool      // deletion protection is on: it cannot be released by hand
	ProtectedWhy string    // and why
	KeyedAt      time.Time // when Shred made its present instance key; zero: it has the first
	Shredding    bool      // a Shred was begun and not finished
	RootedAt     time.Time // when RotateRoot last sealed its key; zero: never
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
// ErrRoot where another process rotated the root.
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
	root, err := m.current(ctx, c)
	if err != nil {
		return Instance{}, err
	}
	keys, err := rec.newKey(c.op, root)
	if err != nil {
		return Instance{}, err
	}
	if err := m.writeInstance(ctx, c, &rec, ""); errors.Is(err, errStale) {
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
			if !yield(rec.describe(c.now()), nil) {
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

// SetInstanceDeletionProtection switches an instance's deletion protection on or off. While
// it is on, ReleaseInstance is refused; a release because of its expiry is not. The
// reason, up to 8192 characters, stands in the error of whoever tries.
func (m *Manager) SetInstanceDeletionProtection(ctx context.Context, id string, on bool, why string) (Instance, error) {
	bad := checkText(OpSetInstanceDeletionProtection, why, "reason", MaxDescription)
	return m.updateInstance(ctx, OpSetInstanceDeletionProtection, id, bad, func(_ *call, rec *instanceRecord) error {
		rec.Protected, rec.ProtectedWhy = on, ""
		if on {
			rec.ProtectedWhy = why
		}
		return nil
	})
}

// instanceNamed is the instance that an item says it is authenticated by.
func instanceNamed(value []byte) (id string, ok bool) {
	id, ok = sealing.Named(value)
	return id, ok && validInstanceID(id)
}

func validInstanceID(id string) bool {
	return id != "" && len(id) <= MaxInstanceID && only(id, "abcdefghijklmnopqrstuvwxyz0123456789-")
}
