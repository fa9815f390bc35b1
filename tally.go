package kms

import (
	"maps"
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

// A batch is what was counted of a key and is being written to the store. It is counted once, however
// often the write is tried: the item that has it has its number (keptBatch).
type batch struct {
	number  uint64
	counted *usageRecord
}

// tallies are those that this process has. What is counted goes from used and refused to keeping and
// from there to the store, and every reader sees it in exactly one of the three: see sum.
type tallies struct {
	self string // the name of this process in marks of its batches

	mu      sync.Mutex
	used    map[tallied]*tally
	refused map[keyid.ID]*refusedTally
	keeping map[keyid.ID]*batch
	batches uint64 // how many there were
	readers map[keyid.ID]*usageReaders
}

// usageReaders are those that are summing up a key, and how many batches of it were settled meanwhile.
type usageReaders struct{ n, settled int }

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
	if v.last.Load() != second {
		v.last.Store(second)
	}
	if v.lastOp.Load() != uint32(op) {
		v.lastOp.Store(uint32(op))
	}
	v.uses.Add(1) // last, so that a use that is seen has its date
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

// take begins a batch of what was counted of every key, and returns all batches that are to be kept.
// A key of which there is a batch already gets no other before that is settled; more reports whether there
// is something to be taken then. What was used by nobody since the last time is put away.
func (t *tallies) take() (all map[keyid.ID]*batch, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := map[keyid.ID]*usageRecord{}
	for of, v := range t.used {
		if t.keeping[of.id] != nil {
			more = more || v.uses.Load() > 0
			continue
		}
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
		if t.keeping[id] != nil {
			more = true
			continue
		}
		taken[id] = taken[id].plus(r.record(id))
		delete(t.refused, id)
	}
	if t.keeping == nil {
		t.keeping = map[keyid.ID]*batch{}
	}
	for id, counted := range taken {
		t.batches++
		t.keeping[id] = &batch{t.batches, counted}
	}
	return maps.Clone(t.keeping), more
}

// settle drops a batch that is in the store.
func (t *tallies) settle(id keyid.ID, b *batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keeping[id] != b { // by another call
		return
	}
	delete(t.keeping, id)
	if r := t.readers[id]; r != nil {
		r.settled++
	}
}

// sum is what load reads of a key in the store, together with what this process counted and has not kept
// there. It has each use that was counted before the call once, and none twice: if a batch was
// settled while the store was read, which may have been before the batch was there, it is read again; a batch
// that is not settled is in what was read, or is not, as its number there says.
func (t *tallies) sum(id keyid.ID, load func() (*usageRecord, error)) (*usageRecord, error) {
	r := t.enter(id)
	defer t.leave(id, r)
	for {
		t.mu.Lock()
		before := r.settled
		t.mu.Unlock()
		kept, err := load()
		if err != nil {
			return nil, err
		}
		if all := t.plus(kept, id, r, before); all != nil {
			return all, nil
		}
	}
}

// plus is what was read together with what was not kept, or nil if a batch was settled meanwhile.
func (t *tallies) plus(kept *usageRecord, id keyid.ID, r *usageReaders, before int) *usageRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.settled != before {
		return nil
	}
	if b := t.keeping[id]; b != nil && !kept.holds(t.self, b) {
		kept = kept.plus(b.counted)
	}
	for of, v := range t.used {
		if n := v.uses.Load(); of.id == id && n > 0 {
			kept = kept.plus(v.record(of, n))
		}
	}
	if refused := t.refused[id]; refused != nil {
		kept = kept.plus(refused.record(id))
	}
	return kept
}

func (t *tallies) enter(id keyid.ID) *usageReaders {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.readers[id]
	if r == nil {
		if t.readers == nil {
			t.readers = map[keyid.ID]*usageReaders{}
		}
		r = &usageReaders{}
		t.readers[id] = r
	}
	r.n++
	return r
}

func (t *tallies) leave(id keyid.ID, r *usageReaders) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.n--; r.n == 0 {
		delete(t.readers, id)
	}
}
