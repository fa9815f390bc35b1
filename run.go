package kms

import (
	"context"
	"sync"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/fresh"
	"github.com/keyhold/kms/keystore"
)

// A following is what Run has said of its look-outs for the changes of other processes: those that
// failed, and that Observe was told of since the last pass.
type following struct{ told sync.Map }

// again has what still fails be told again.
func (f *following) again() { f.told.Clear() }

// keepFresh keeps the caches fresh until stop is called, which waits for what was started.
func (m *Manager) keepFresh(ctx context.Context, following *following) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	followers := map[string]*fresh.Follower{keySegment: m.keyChanges, aliasSegment: m.aliasChanges, instanceSegment: m.instanceChanges}
	// looked is called with the outcome of each look of a look-out.
	looked := func(by string) func(error) {
		return func(err error) {
			if err == nil || ctx.Err() != nil || m.tell == nil {
				return
			}
			if _, told := following.told.LoadOrStore(by, true); !told {
				c := m.begin(OpMaintain)
				m.tell(ctx, Event{Time: c.now(), Op: c.op, Notice: NoticeCannotFollow, Err: c.storeFailed("", err)})
			}
		}
	}
	for segment, f := range followers {
		all.Go(func() { f.Keep(ctx, looked(segment)) })
	}
	if w, ok := keystore.WatcherOf(m.store); ok && m.staleness > 0 {
		all.Go(func() {
			watch(ctx, w, func(segment string) {
				if f := followers[segment]; f != nil {
					f.Hurry()
				}
			}, looked("watch"))
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

// watchPause is how long a watch that failed waits before it tries again.
const watchPause = time.Second

func watch(ctx context.Context, w keystore.Watcher, moved func(segment string), ended func(error)) {
	for {
		err := w.Watch(ctx, moved)
		if errors.Is(err, errors.ErrUnsupported) {
			return
		}
		if ended(err); errors.Is(err, keystore.ErrClosed) {
			return
		}
		select {
		case <-time.After(watchPause):
		case <-ctx.Done():
			return
		}
	}
}
