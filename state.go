package kms

import "time"

// State is what a key is at an instant. It is never stored: it follows from the facts
// of the key's record and the clock. The zero State is none.
type State uint8

// The states of a key. Only an Enabled key does cryptography.
const (
	stateNone State = iota

	// PendingImport: the key has no material.
	PendingImport

	// Enabled: the key does what it is for.
	Enabled

	// Disabled: switched off, until it is enabled again.
	Disabled

	// PendingDeletion: suspended until its deletion date, and until then to be had
	// back by CancelKeyDeletion.
	PendingDeletion

	// Deleted: the deletion date has come. Such a key answers every call with
	// ErrNotFound, whether or not anything ran since.
	Deleted

	// Unavailable: the instance of the key has expired. It hides the state that the key
	// has by itself, and has again when the instance is renewed.
	Unavailable

	numStates

	same    // in the table: the state stays what it is
	asFacts // in the table: the state that the other facts give
)

var stateNames = [...]string{
	stateNone: "none", PendingImport: "PendingImport", Enabled: "Enabled", Disabled: "Disabled",
	PendingDeletion: "PendingDeletion", Deleted: "Deleted", Unavailable: "Unavailable", numStates: "none", same: "same", asFacts: "as its facts say",
}

// String returns the state's name, such as "PendingDeletion".
func (s State) String() string {
	if int(s) >= len(stateNames) {
		return "none"
	}
	return stateNames[s]
}

// facts are what decides about a key, besides the clock.
type facts struct {
	material  bool      // there is material to work with
	until     time.Time // when the material expires; zero: never
	disabled  bool      // its owner switched it off
	deleteAt  time.Time // when it is deleted; zero: not scheduled
	destroyed bool      // it was purged
}

// state is the one place that turns facts into a state, by precedence.
func (f facts) state(now time.Time) State {
	switch {
	case f.destroyed || f.due(now):
		return Deleted
	case !f.deleteAt.IsZero():
		return PendingDeletion
	case !f.material || f.expired(now):
		return PendingImport
	case f.disabled:
		return Disabled
	default:
		return Enabled
	}
}

// due tells whether the deletion date has come: at that instant, not after it.
func (f facts) due(now time.Time) bool {
	return !f.deleteAt.IsZero() && !now.Before(f.deleteAt)
}

// expired tells whether the material's time is over: at that instant, not after it.
func (f facts) expired(now time.Time) bool {
	return !f.until.IsZero() && !now.Before(f.until)
}
