package kms

import (
	"context"
	"slices"
	"time"
)

// The window of a deletion, in days of 24 hours from the call on.
const (
	MinDeletionDays = 7
	MaxDeletionDays = 366
)

// ScheduleKeyDeletion suspends a key at once and deletes it when days times 24 hours have
// passed: 7 to 366 days, else ErrWindow. Until that instant CancelKeyDeletion brings the
// key back; from then on nothing does, and everything encrypted under the key, its data
// keys included, is unreadable for good.
//
// The key must be Disabled, or without material, and nothing may depend on it: an
// Enabled key (ErrState), one under deletion protection, its own or that of its instance
// (ErrProtected), and one with dependents (ErrInUse) is refused, with all that stands in the
// way in one error.
//
// By what the key is, it is refused with ErrInUse, ErrInstanceExpired, ErrNotFound,
// ErrProtected, ErrReadOnly and ErrState.
func (m *Manager) ScheduleKeyDeletion(ctx context.Context, ref string, days int) (Key, error) {
	return m.update(ctx, OpScheduleKeyDeletion, ref, checkWindow(days), deleteIn(days))
}

func checkWindow(days int) error {
	if days < MinDeletionDays || days > MaxDeletionDays {
		return refuse(OpScheduleKeyDeletion, "", ErrWindow)
	}
	return nil
}

func deleteIn(days int) func(*call, *record) error {
	return func(c *call, r *record) error {
		r.DeleteAt = c.now().Add(time.Duration(days) * 24 * time.Hour)
		return nil
	}
}

// CancelKeyDeletion takes a scheduled deletion back. The key is again what its other
// facts say: one that was disabled before it was scheduled stays Disabled until it is
// enabled. It is refused with ErrState where no deletion is scheduled and with
// ErrNotFound from the deletion date on.
//
// By what the key is, it is refused with ErrNotFound, ErrReadOnly and ErrState.
func (m *Manager) CancelKeyDeletion(ctx context.Context, ref string) (Key, error) {
	return m.update(ctx, OpCancelKeyDeletion, ref, nil, cancelDeletion)
}

func cancelDeletion(_ *call, r *record) error {
	r.DeleteAt = time.Time{}
	return nil
}

// SetDeletionProtection switches a key's deletion protection on or off. While it is on, the key's
// deletion cannot be scheduled, ImportKeyMaterial does not bring the end of its material nearer, and
// DeleteKeyMaterial, RetireKeyVersions and ReleaseInstance of its instance are done by force alone.
// What a date does, of material or of the instance, it does not stop. The reason, up to 8192
// characters, is kept while it is on, and is in the error of a call that it refuses.
//
// By what the key is, it is refused with ErrInstanceExpired, ErrNotFound, ErrPendingDeletion
// and ErrReadOnly.
func (m *Manager) SetDeletionProtection(ctx context.Context, ref string, on bool, why string) (Key, error) {
	bad := checkText(OpSetDeletionProtection, why, "reason", MaxDescription)
	return m.update(ctx, OpSetDeletionProtection, ref, bad, func(_ *call, r *record) error {
		r.Protected, r.ProtectedWhy = on, ""
		if on {
			r.ProtectedWhy = why
		}
		return nil
	})
}

// AddDependent registers something that depends on a key: up to 100 of them. One of the
// same name is replaced. While a key has dependents its deletion cannot be scheduled, and its
// instance is not released but by force. The bound of SetDescription holds for them too.
//
// By what the key is, it is refused with ErrInstanceExpired, ErrNotFound, ErrPendingDeletion
// and ErrReadOnly.
func (m *Manager) AddDependent(ctx context.Context, ref string, d Dependent) (Key, error) {
	return m.update(ctx, OpAddDependent, ref, d.check(OpAddDependent), func(_ *call, r *record) error {
		r.Dependents = slices.Clone(r.Dependents)
		at := slices.IndexFunc(r.Dependents, func(known Dependent) bool { return known.Name == d.Name })
		if at >= 0 {
			r.Dependents[at] = d
			return nil
		}
		r.Dependents = append(r.Dependents, d)
		if len(r.Dependents) > MaxDependents {
			return invalid(OpAddDependent, "the key would have more than %d dependents", MaxDependents)
		}
		return nil
	})
}

// RemoveDependent takes the dependent of that name from a key. Where there is none it
// does nothing.
//
// By what the key is, it is refused with ErrInstanceExpired, ErrNotFound, ErrPendingDeletion
// and ErrReadOnly.
func (m *Manager) RemoveDependent(ctx context.Context, ref string, d Dependent) (Key, error) {
	return m.update(ctx, OpRemoveDependent, ref, nil, func(_ *call, r *record) error {
		r.Dependents = r.withoutDependent(d.Name)
		return nil
	})
}

func (d Dependent) check(op Op) error {
	if d.Name == "" {
		return invalid(op, "the dependent has no name")
	}
	if err := checkText(op, d.Name, "dependent's name", MaxDependent); err != nil {
		return err
	}
	return checkText(op, d.Note, "dependent's note", MaxDependent)
}

// withoutDependent is a new list.
func (r *record) withoutDependent(name string) []Dependent {
	return slices.DeleteFunc(slices.Clone(r.Dependents), func(d Dependent) bool { return d.Name == name })
}
