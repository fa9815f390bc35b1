package kms

import (
	"sync"
	"sync/atomic"

	"github.com/keyhold/kms/internal/keyid"
)

// A tally counts the uses of one key version by this process since they were last kept. It is
// changed on the path of every use, without a lock.
type tally struct {
	uses   atomic.Uint64
	last   atomic.Int64 // the second of the last use, since 1970
	lastOp atomic.Uint32
	idle   atomic.Bool // it was put away, since nothing was counted
}

type tallied struct {
	id      keyid.ID
	version uint32
}

// A refusedTally counts the refused uses of one key by this process since they were last kept.
type refusedTally struct {
	count    uint64
	last     Attempt
	attempts []Attempt // while the key was PendingDeletion
}

// tallies are those that this process has.
type tallies struct {
	mu      sync.Mutex
	used    map[tallied]*tally
	refused map[keyid.ID]*refusedTally
}

// of is the tally of a key version, kept until it was idle.
func (t *tallies) of(id keyid.ID, version uint32) *tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := tallied{id, version}
	if known := t.used[of]; known != nil {
		return known
	}
	if t.used == nil {
		t.used = map[tallied]*tally{}
	}
	fresh := &tally{}
	t.used[of] = fresh
	return fresh
}

// count counts a use, in a second since 1970, and tells whether the tally has to be woken.
func (v *tally) count(op Op, second int64) (idle bool) {
	v.uses.Add(1)
	if v.last.Load() != second {
		v.last.Store(second)
	}
	if v.lastOp.Load() != uint32(op) {
		v.lastOp.Store(uint32(op))
	}
	return v.idle.Load()
}

// wake takes the tally of a key version back that was put away, with what was counted since.
func (t *tallies) wake(v *tally, id keyid.ID, version uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := tallied{id, version}
	if other := t.used[of]; other == nil {
		v.idle.Store(false)
		t.used[of] = v
	} else if other != v {
		other.add(v)
	}
}

// add moves what was counted in other.
func (v *tally) add(other *tally) {
	v.uses.Add(other.uses.Swap(0))
	if last := other.last.Load(); last >= v.last.Load() {
		v.last.Store(last)
		v.lastOp.Store(other.lastOp.Load())
	}
}

// refuse counts a use that was refused.
func (t *tallies) refuse(id keyid.ID, a Attempt, suspended bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused == nil {
		t.refused = map[keyid.ID]*refusedTally{}
	}
	r := t.refused[id]
	if r == nil {
		r = &refusedTally{}
		t.refused[id] = r
	}
	r.count++
	r.last = a
	if suspended {
		r.attempts = lastAttempts(append(r.attempts, a))
	}
}

// take is all that was counted of every key, and begins anew. What was used by nobody since
// the last time is put away.
func (t *tallies) take() map[keyid.ID]*usageRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := map[keyid.ID]*usageRecord{}
	for of, v := range t.used {
		if n := v.uses.Swap(0); n > 0 {
			taken[of.id] = taken[of.id].plus(v.record(of, n))
			continue
		}
		v.idle.Store(true)
		delete(t.used, of)
		if n := v.uses.Swap(0); n > 0 { // counted before it was seen idle
			taken[of.id] = taken[of.id].plus(v.record(of, n))
		}
	}
	for id, r := range t.refused {
		taken[id] = taken[id].plus(r.record(id))
	}
	t.refused = nil
	return taken
}

// peek is what was counted of one key and not kept yet.
func (t *tallies) peek(id keyid.ID) *usageRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := &usageRecord{Key: id}
	for of, v := range t.used {
		if n := v.uses.Load(); of.id == id && n > 0 {
			seen = seen.plus(v.record(of, n))
		}
	}
	if r := t.refused[id]; r != nil {
		seen = seen.plus(r.record(id))
	}
	return seen
}

// restore takes back what could not be kept.
func (t *tallies) restore(back *usageRecord) {
	for _, v := range back.Versions {
		of := t.of(back.Key, v.Version)
		of.add(v.tally())
	}
	if back.Refused == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused == nil {
		t.refused = map[keyid.ID]*refusedTally{}
	}
	r := t.refused[back.Key]
	if r == nil {
		r = &refusedTally{last: back.LastRefused}
		t.refused[back.Key] = r
	}
	r.count += back.Refused
	r.attempts = lastAttempts(append(back.Attempts, r.attempts...))
}
