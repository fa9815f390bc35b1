package kms

import "time"

// An opSet is a set of operations.
type opSet uint64

const _ = uint(64 - numOps) // they fit

func (s opSet) has(op Op) bool { return s&(1<<op) != 0 }

// standing are the uses of a key that nothing stands in the way of, whatever the time, as long as
// its record is what it is: what the table said of them once need not be asked again. There are
// none of a key in an instance that may expire, and of one whose state or brown-out time changes.
func (m *Manager) standing(r *record) (uses opSet) {
	if r.in.id != DefaultInstance || r.timed() {
		return 0
	}
	for op := range numOps {
		if lifecycle[op].isUse() && r.obstacles(&call{m: m, op: op, clock: time.Unix(0, 0)}, m.home.Load()) == 0 {
			uses |= 1 << op
		}
	}
	return uses
}

// timed tells whether a date bears on what may be done with the key.
func (r *record) timed() bool {
	return !r.DeleteAt.IsZero() || !r.MaterialUntil.IsZero() || r.BrownShare > 0
}
