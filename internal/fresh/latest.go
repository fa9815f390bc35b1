package fresh

import (
	"context"
	"sync"
	"sync/atomic"
)

// Latest knows, of the records that this process read by themselves or wrote, the highest
// sequence number. A record is authentic or it is not; that it is older than one that
// was there before shows by its number alone. It is asked when the store is, and not by uses of
// what is in memory. What it knows ends with the process.
type Latest[K comparable] struct {
	hash    func(K) uint64
	changes *Follower     // of the records' segment
	drops   atomic.Uint64 // how often all was dropped
	shards  [32]struct {
		mu   sync.Mutex
		seqs seqs[K]
	}
}

// Sight is what was known of a record when the store was asked for it.
type Sight struct{ drops, seq uint64 }

// Seq returns the highest sequence number that was known; 0: none was.
func (s Sight) Seq() uint64 { return s.seq }

// NewLatest returns one for the segment of a follower, which drops all where the store went back.
func NewLatest[K comparable](changes *Follower, hash func(K) uint64) *Latest[K] {
	l := &Latest[K]{hash: hash, changes: changes}
	changes.lost = l.dropAll
	return l
}

// Before returns what is known of a record. Call it before the store is asked: a slow answer may be
// older than what becomes known meanwhile.
func (l *Latest[K]) Before(key K) Sight {
	s, hash := Sight{drops: l.drops.Load()}, l.hash(key)
	shard := &l.shards[hash%uint64(len(l.shards))]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	s.seq = shard.seqs.get(key, hash/uint64(len(l.shards)))
	return s
}

// Saw notes what was read or written, unless all was dropped since.
func (l *Latest[K]) Saw(key K, seq uint64, since Sight) {
	shard := &l.shards[l.hash(key)%uint64(len(l.shards))]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if l.drops.Load() == since.drops {
		shard.seqs.raise(key, seq, func(key K) uint64 { return l.hash(key) / uint64(len(l.shards)) })
	}
}

// Older tells whether what was read is older than what was known when it was asked for; a seq
// of 0 is that it was not there. Before it says so it looks whether the store lost writes by
// a failover, which is no attack, and drops all.
func (l *Latest[K]) Older(ctx context.Context, seq uint64, since Sight) (bool, error) {
	if seq >= since.seq {
		return false, nil
	}
	if err := l.changes.Poll(ctx); err != nil {
		return false, err
	}
	return l.drops.Load() == since.drops, nil
}

// dropAll forgets everything.
func (l *Latest[K]) dropAll() {
	l.drops.Add(1)
	for i := range l.shards {
		shard := &l.shards[i]
		shard.mu.Lock()
		shard.seqs = seqs[K]{}
		shard.mu.Unlock()
	}
}
