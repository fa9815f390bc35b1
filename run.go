package kms

import (
	"context"
	"sync"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/keystore"
)

// keep looks three times within MaxStaleness, and when it is nudged, until ctx ends. So
// calls find what they need in memory, and a look that failed has two more to make up for it.
func (f *follower) keep(ctx context.Context) {
	if f.feed == nil || f.head != nil || f.most == 0 {
		return // there is nothing that a look ahead would save
	}
	tick := time.NewTicker(max(f.most/3, 1))
	defer tick.Stop()
	for {
		select {
		case f.turn <- struct{}{}:
			_ = f.look(ctx) // the next one tries again, and calls refuse meanwhile
			<-f.turn
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

// hurry makes keep look now.
func (f *follower) hurry() {
	select {
	case f.nudge <- struct{}{}:
	default: // it is about to
	}
}

// keepFresh keeps the caches fresh until stop is called, which waits for what was started.
func (m *Manager) keepFresh(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	followers := map[string]*follower{keySegment: m.keyChanges, aliasSegment: m.aliasChanges, instanceSegment: m.instanceChanges}
	for _, f := range followers {
		all.Go(func() { f.keep(ctx) })
	}
	if w, ok := keystore.WatcherOf(m.store); ok && m.staleness > 0 {
		all.Go(func() {
			watch(ctx, w, func(segment string) {
				if f := followers[segment]; f != nil {
					f.hurry()
				}
			})
		})
	}
	if m.ticks {
		all.Go(func() { m.keepTime(ctx) })
	}
	return func() {
		cancel()
		all.Wait()
	}
}

// keepTime notes the second until ctx ends, so that uses, which are dated to the second, need not
// read the clock for that. What a date decides is never decided by it.
func (m *Manager) keepTime(ctx context.Context) {
	tick := time.NewTicker(time.Second / 4)
	defer tick.Stop()
	defer m.tick.Store(0)
	for {
		m.tick.Store(m.clock().Unix())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// watchPause is how long one who could not watch waits before he tries again.
const watchPause = time.Second

func watch(ctx context.Context, w keystore.Watcher, moved func(segment string)) {
	for {
		err := w.Watch(ctx, moved)
		if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, keystore.ErrClosed) {
			return
		}
		select {
		case <-time.After(watchPause):
		case <-ctx.Done():
			return
		}
	}
}
