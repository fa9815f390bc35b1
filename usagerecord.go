package kms

import (
	"cmp"
	"slices"
	"time"
)

// A usageRecord is the item of what is known of the use of a key. It is evidence and no fact
// of the key, and so has an item of its own, which is written when there is time for it.
type usageRecord struct {
	Key         keyID           `json:"key"`
	Seq         uint64          `json:"seq,omitempty"`
	Versions    []versionRecord `json:"versions,omitempty"` // ascending
	Refused     uint64          `json:"refused,omitempty"`
	LastRefused Attempt         `json:"lastRefused,omitzero"`
	Attempts    []Attempt       `json:"attempts,omitempty"` // while it was PendingDeletion
}

type versionRecord struct {
	Version uint32 `json:"version"`
	Uses    uint64 `json:"uses"`
	Last    int64  `json:"last"` // second since 1970
	LastOp  Op     `json:"lastOp"`
}

const usageSegment = "usage/"

func (v *tally) record(of tallied, uses uint64) *usageRecord {
	return &usageRecord{Key: of.id, Versions: []versionRecord{{of.version, uses, v.last.Load(), Op(v.lastOp.Load())}}}
}

func (v versionRecord) tally() *tally {
	t := &tally{}
	t.uses.Store(v.Uses)
	t.last.Store(v.Last)
	t.lastOp.Store(uint32(v.LastOp))
	return t
}

func (r *refusedTally) record(id keyID) *usageRecord {
	return &usageRecord{Key: id, Refused: r.count, LastRefused: r.last, Attempts: r.attempts}
}

// plus is both together. Nil is nothing.
func (u *usageRecord) plus(more *usageRecord) *usageRecord {
	if u == nil {
		return more
	}
	sum := &usageRecord{Key: u.Key, Refused: u.Refused + more.Refused, LastRefused: u.LastRefused}
	if !more.LastRefused.At.Before(u.LastRefused.At) {
		sum.LastRefused = more.LastRefused
	}
	sum.Versions = slices.Clone(u.Versions)
	for _, v := range more.Versions {
		i, known := slices.BinarySearchFunc(sum.Versions, v, func(a, b versionRecord) int { return cmp.Compare(a.Version, b.Version) })
		if !known {
			sum.Versions = slices.Insert(sum.Versions, i, v)
			continue
		}
		old := &sum.Versions[i]
		old.Uses += v.Uses
		if v.Last >= old.Last {
			old.Last, old.LastOp = v.Last, v.LastOp
		}
	}
	attempts := slices.Concat(u.Attempts, more.Attempts)
	slices.SortStableFunc(attempts, func(a, b Attempt) int { return a.At.Compare(b.At) })
	sum.Attempts = lastAttempts(attempts)
	return sum
}

func (u *usageRecord) describe() KeyUsage {
	k := KeyUsage{KeyID: u.Key.String(), Refused: u.Refused, LastRefused: u.LastRefused, Attempts: slices.Clone(u.Attempts)}
	for _, v := range u.Versions {
		k.Versions = append(k.Versions, VersionUsage{int(v.Version), v.Uses, time.Unix(v.Last, 0).UTC(), v.LastOp})
	}
	return k
}

// MarshalText and UnmarshalText write operations into records, by their names.
func (op Op) MarshalText() ([]byte, error) { return []byte(op.String()), nil }

// UnmarshalText accepts the name of any operation. One that this version does not know is
// read as none.
func (op *Op) UnmarshalText(text []byte) error {
	*op = opNone
	for known := Op(0); known < numOps; known++ {
		if opNames[known] == string(text) {
			*op = known
		}
	}
	return nil
}
