package kms

import (
	"context"
	"sync"
	"sync/atomic"
)

// latest knows, of the records that this process read by themselves or wrote, the highest
// sequence number. A record is authentic or it is not; that it is older than one that
// was there before shows by its number alone. It is asked when the store is, and not by uses of
// what is in memory. What it knows ends with the process.
type latest[K comparable] struct {
	hash    func(K) uint64
	changes *follower     // of the records' segment
	drops   atomic.Uint64 // how often all was dropped
	shards  [32]struct {
		mu   sync.Mutex
		seqs seqs[K]
	}
}

// A sight is what was known of a record when the store was asked for it.
type sight struct{ drops, seq uint64 }

// newLatest returns one for the segment of a follower, which drops all where the store went back.
func newLatest[K comparable](changes *follower, hash func(K) uint64) *latest[K] {
	l := &latest[K]{hash: hash, changes: changes}
	changes.lost = l.dropAll
	return l
}

// before is taken before the store is asked: a slow answer may be of then.
func (l *latest[K]) before(key K) sight {
	s, hash := sight{drops: l.drops.Load()}, l.hash(key)
	shard := &l.shards[hash%uint64(len(l.shards))]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	s.seq = shard.seqs.get(key, hash/uint64(len(l.shards)))
	return s
}

// saw notes what was read or written, unless all was dropped since.
func (l *latest[K]) saw(key K, seq uint64, since sight) {
	shard := &l.shards[l.hash(key)%uint64(len(l.shards))]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if l.drops.Load() == since.drops {
		shard.seqs.raise(key, seq, func(key K) uint64 { return l.hash(key) / uint64(len(l.shards)) })
	}
}

// older tells whether what was read is older than what was known when it was asked for; a seq
// of 0 is that it was not there. Before it says so it looks whether the store lost writes by
// a failover, which is no attack, and drops all.
func (l *latest[K]) older(ctx context.Context, seq uint64, since sight) (bool, error) {
	if seq >= since.seq {
		return false, nil
	}
	if err := l.changes.again(ctx); err != nil {
		return false, err
	}
	return l.drops.Load() == since.drops, nil
}

// dropAll forgets everything.
func (l *latest[K]) dropAll() {
	l.drops.Add(1)
	for i := range l.shards {
		shard := &l.shards[i]
		shard.mu.Lock()
		shard.seqs = seqs[K]{}
		shard.mu.Unlock()
	}
}
