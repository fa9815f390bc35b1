package keystoretest

import (
	"context"
	"errors"
	"time"

	"github.com/keyhold/kms/keystore"
)

var contextCases = []testCase{{
	name: "Get ends with its context",
	why:  "a caller that has given up would be kept waiting",
	run: func(t *trial) {
		t.put("key/a", "", "")
		t.ended(func(ctx context.Context) error {
			_, err := t.Get(ctx, "key/a")
			return err
		})
	},
}, {
	name: "Put ends with its context",
	why:  "a caller that has given up would be kept waiting",
	run: func(t *trial) {
		version := t.put("key/a", "", "")
		t.ended(func(ctx context.Context) error {
			_, err := t.Put(ctx, "key/a", version, nil)
			return err
		})
		t.ended(func(ctx context.Context) error {
			_, err := t.Put(ctx, "key/b", "", nil)
			return err
		})
		t.put("key/c", "", "the store goes on")
	},
}, {
	name: "List ends with its context",
	why:  "a list that ends without an error is taken for complete",
	run: func(t *trial) {
		t.put("key/a", "", "")
		t.ended(func(ctx context.Context) (last error) {
			for item, err := range t.List(ctx, "", "") {
				if last = err; err != nil && (item.Name != "" || item.Value != nil || item.Version != "") {
					t.Fatalf("List yielded an error with the item %q", item.Name)
				}
			}
			return last
		})
	},
}, {
	name: "List ends when its context ends in the loop",
	why:  "a list that ends without an error is taken for complete",
	run: func(t *trial) {
		names := t.fill("key/a", 600)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n, last := 0, error(nil)
		for _, err := range t.List(ctx, "key/", "") {
			if last != nil {
				t.Fatalf("List went on after an error")
			}
			last = err
			n++
			cancel()
		}
		if !errors.Is(last, context.Canceled) {
			t.Fatalf("List yielded %d of %d items, then %v; want an error that matches %v", n, len(names), last, context.Canceled)
		}
	},
}, {
	name:  "Changes ends with its context",
	why:   "a caller that has given up would be kept waiting",
	needs: feed,
	run: func(t *trial) {
		f, _ := keystore.FeedOf(t.Store)
		t.ended(func(ctx context.Context) error {
			_, _, err := f.Changes(ctx, "key/", 0)
			return err
		})
	},
}, {
	name:  "Watch ends with its context",
	why:   "a program that ends waits for those who watch",
	needs: watcher,
	run: func(t *trial) {
		w, _ := keystore.WatcherOf(t.Store)
		watch := func(ctx context.Context) error { return w.Watch(ctx, func(string) {}) }
		t.ended(watch)
		ctx, cancel := context.WithCancel(t.Context())
		watching := make(chan error, 1)
		go func() { watching <- watch(ctx) }()
		version := t.put("key/a", "", "")
		t.put("key/a", version, "next")
		cancel()
		select {
		case err := <-watching:
			if !errors.Is(err, context.Canceled) && !errors.Is(err, errors.ErrUnsupported) {
				t.Fatalf("Watch, whose context ended: %v; want an error that matches %v", err, context.Canceled)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("Watch goes on after its context has ended")
		}
	},
}}

// ended calls f with contexts that have ended, and wants their errors.
func (t *trial) ended(f func(context.Context) error) {
	t.Helper()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	for _, ctx := range []context.Context{cancelled, late} {
		if err := f(ctx); !errors.Is(err, ctx.Err()) {
			t.Fatalf("with an ended context: %v; want an error that matches %v", err, ctx.Err())
		}
	}
}
