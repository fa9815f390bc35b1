package kms

import (
	"context"
	"sync"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/fresh"
	"github.com/keyhold/kms/keystore"
)

// keepFresh keeps the caches fresh until stop is called, which waits for what was started.
func (m *Manager) keepFresh(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	followers := map[string]*fresh.Follower{keySegment: m.keyChanges, aliasSegment: m.aliasChanges, instanceSegment: m.instanceChanges}
	for _, f := range followers {
		all.Go(func() { f.Keep(ctx) })
	}
	if w, ok := keystore.WatcherOf(m.store); ok && m.staleness > 0 {
		all.Go(func() {
			watch(ctx, w, func(segment string) {
				if f := followers[segment]; f != nil {
					f.Hurry()
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
