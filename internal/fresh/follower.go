// Package fresh keeps what was read from the key store as fresh as a Manager promises: caches that
// follow the store's changes, and a memory of the latest version of each record.
package fresh

import (
	"context"
	"sync/atomic"
	"time"

	"errors"

	"github.com/keyhold/kms/keystore"
)

// Follower keeps the cache of one segment of the key store as fresh as was promised:
// at once where the store is this process's own, else within MaxStaleness, and where
// it cannot keep that, it says so and the call is refused.
type Follower struct {
	segment string
	head    func() keystore.Cursor // the newest position, from memory; nil: there is none
	feed    keystore.Feed          // nil: every entry is compared with the store by itself
	most    time.Duration          // MaxStaleness
	clock   func() time.Time       // with its monotonic reading, for ages

	seen   atomic.Uint64             // the position up to which the cache is right
	asked  atomic.Pointer[time.Time] // when the last look that succeeded was sent
	begun  atomic.Uint64             // how many looks were begun
	done   atomic.Uint64             // the number of the last that succeeded
	turn   chan struct{}             // held by the one that looks
	nudge  chan struct{}             // tells Keep to look now
	forget func(name string)
	flush  func()
	lost   func() // called besides where a store that is shared may have lost writes
}

// NewFollower returns a Follower of a segment of the store. Most is MaxStaleness, clock tells ages,
// forget drops one name from the cache and flush all of it.
func NewFollower(s keystore.Store, segment string, most time.Duration, clock func() time.Time, forget func(string), flush func()) *Follower {
	f := &Follower{segment: segment, most: most, clock: clock, forget: forget, flush: flush, turn: make(chan struct{}, 1), nudge: make(chan struct{}, 1)}
	if local, ok := keystore.LocalOf(s); ok {
		f.feed, f.head = local, local.Head(segment)
	} else if feed, ok := keystore.FeedOf(s); ok {
		f.feed = feed
	}
	return f
}

// Follow brings the cache up to date for a call, if it must be. A look serves all calls that were
// there when it began.
func (f *Follower) Follow(ctx context.Context, c *Moment) error {
	if f.fresh(c) {
		return nil
	}
	begun := f.begun.Load()
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-f.turn }()
	if f.fresh(c) || f.done.Load() > begun { // somebody looked while this call waited
		return nil
	}
	return f.look(ctx)
}

func (f *Follower) fresh(c *Moment) bool {
	switch {
	case f.head != nil:
		return uint64(f.head()) == f.seen.Load()
	case f.feed != nil:
		return f.within(f.asked.Load(), c)
	default:
		return true
	}
}

// Dated is when the store was asked for something, to be kept with it; nil: the feed tells of its age.
func (f *Follower) Dated(sent time.Time) *time.Time {
	if f.feed != nil {
		return nil
	}
	at := sent // so that only this is on the heap
	return &at
}

// Holds tells whether what was read at that time, and is in the cache, may be relied on by a call.
func (f *Follower) Holds(readAt *time.Time, c *Moment) bool {
	return f.feed != nil || f.within(readAt, c)
}

// within tells whether what was asked for at that time is fresh by itself.
func (f *Follower) within(asked *time.Time, c *Moment) bool {
	if asked == nil || f.most == 0 {
		return false
	}
	age := c.Began().Sub(*asked)
	return 0 <= age && age < f.most
}

// Poll asks the store for changes now, whether or not it must. A store that one process owns, and
// one without a feed, have nothing to tell.
func (f *Follower) Poll(ctx context.Context) error {
	if f.feed == nil || f.head != nil {
		return nil
	}
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-f.turn }()
	return f.look(ctx)
}

// longestLook is after how long a look is given up, so that those who wait for it may try.
const longestLook = 2 * time.Second

// look asks the feed what changed and drops it. The lease that begins with it counts
// from when it was sent. The caller has the turn.
func (f *Follower) look(ctx context.Context) error {
	if f.head == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, longestLook)
		defer cancel()
	}
	number := f.begun.Add(1)
	now := f.clock()
	seen := keystore.Cursor(f.seen.Load())
	names, head, err := f.feed.Changes(ctx, f.segment, seen)
	switch {
	case errors.Is(err, keystore.ErrGap), err == nil && head < seen:
		f.flush()
		if f.head == nil {
			f.lost()
		}
	case err != nil:
		return err
	}
	for _, name := range names {
		f.forget(name)
	}
	f.seen.Store(uint64(head))
	f.asked.Store(&now)
	f.done.Store(number)
	return nil
}

// Keep looks three times within MaxStaleness, and when it is nudged, until ctx ends. So
// calls find what they need in memory, and a look that failed has two more to make up for it. It calls
// looked with the outcome of each look.
func (f *Follower) Keep(ctx context.Context, looked func(error)) {
	if f.feed == nil || f.head != nil || f.most == 0 {
		return // there is nothing that a look ahead would save
	}
	tick := time.NewTicker(max(f.most/3, 1))
	defer tick.Stop()
	for {
		select {
		case f.turn <- struct{}{}:
			err := f.look(ctx) // the next one tries again, and calls refuse meanwhile
			<-f.turn
			looked(err)
		case <-ctx.Done():
			return
		}
		select {
		case <-tick.C:
		case <-f.nudge:
		case <-ctx.Done():
			return
		}
	}
}

// Hurry makes Keep look now.
func (f *Follower) Hurry() {
	select {
	case f.nudge <- struct{}{}:
	default: // it is about to
	}
}

// Position returns the newest position of a store that one process owns, from memory. Other stores
// have none.
func (f *Follower) Position() (at uint64, ok bool) {
	if f.head == nil {
		return 0, false
	}
	return uint64(f.head()), true
}
