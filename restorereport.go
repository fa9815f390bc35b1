package kms

import "time"

// RestoreOptions may be nil. The zero value of each field is its default.
type RestoreOptions struct {
	// ExpiresAt is when an instance that is made anew expires, if the date in the backup is
	// past; in the future. Zero is never.
	ExpiresAt time.Time

	// Tombstones are keys that must not come back, besides those that this key store and the
	// backup know of: what Manager.Tombstones of the key store said that the backup is from, as
	// late as can be had. Nil: there is no such list. An empty list is one that holds none.
	Tombstones []Tombstone

	// Progress is called now and then with how many keys were done, and at the end.
	Progress func(keys int)
}

// RestoreReport tells what a Restore found and did.
type RestoreReport struct {
	Backup   BackupInfo
	Instance Instance // as it is now, with the expiry that it got
	Made     bool     // the instance was made anew; false: it was here, and kept its own facts

	Restored   int           // keys that were not here, and are now
	Merged     []string      // IDs of keys that were here, and were made as strict as in the backup
	Unchanged  int           // keys that were here, and at least as strict
	Tombstones int           // tombstones that were not here, and are now
	Aliases    int           // aliases that were not here, and are now
	Skipped    []SkippedItem // what was not brought back
	Missing    []string      // IDs of keys whose material is in hardware, and not in the one that is here

	// UnknownSince is set where the backup is from another key store and no Tombstones were
	// given: it is the time of the backup. A key that was deleted after it is back.
	UnknownSince time.Time
}

// SkippedItem is a key or an alias that a Restore did not bring back.
type SkippedItem struct {
	KeyID string
	Alias string // "": it is the key itself
	Why   SkipReason
}

// SkipReason says why.
type SkipReason string

// The reasons.
const (
	SkippedDeleted  SkipReason = "Deleted"       // the key is deleted: its date has passed, or there is a tombstone
	SkippedOther    SkipReason = "OtherKey"      // a key of that ID is here, and it is not this one: other material, another kind
	SkippedInstance SkipReason = "OtherInstance" // a key of that ID is here, in another instance
	SkippedTampered SkipReason = "Tampered"      // what is here in its place was changed behind the service's back
	SkippedTaken    SkipReason = "AliasTaken"    // the alias names another key here
)
