package keystoretest

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/keyhold/kms/keystore"
)

var feedCases = []testCase{{
	name:  "what was replaced is in the feed when Put returns",
	why:   "a key that was disabled would go on in the caches of those who follow the feed",
	needs: feed,
	run: func(t *trial) {
		a, b := t.put("key/a", "", ""), t.put("key/b", "", "")
		start := t.head("key/")
		a = t.put("key/a", a, "next")
		t.changed("key/", start, "key/a")
		t.put("key/b", b, "next")
		t.changed("key/", start, "key/a", "key/b")
		middle := t.head("key/")
		t.put("key/a", a, "last")
		t.changed("key/", middle, "key/a")
	},
}, {
	name:  "a create moves nothing",
	why:   "nobody keeps what was absent; a store that counts creates makes all of them wait for each other",
	needs: feed,
	run: func(t *trial) {
		t.replaced("key/first")
		start := t.head("key/")
		for i := range 5 {
			t.put(fmt.Sprintf("key/%d", i), "", "value")
		}
		t.refused("key/0", "", "")
		if head := t.head("key/"); head != start {
			t.Fatalf("creates moved the feed from %d to %d", start, head)
		}
	},
}, {
	name:  "other segments are not disturbed",
	why:   "counting the uses of keys would empty the caches of those keys",
	needs: feed,
	run: func(t *trial) {
		for _, name := range []string{"key/a", "keys/a", "alias/key/a", "usage/a", "key"} {
			t.replaced(name)
		}
		start := t.head("key/")
		for _, name := range []string{"keys/a", "alias/key/a", "usage/a", "key"} {
			t.replace(name)
		}
		if head := t.head("key/"); head != start {
			t.Fatalf("changes elsewhere moved the feed from %d to %d", start, head)
		}
		t.replace("key/a")
		names, _, err := t.feed().Changes(t.Context(), "key/", start)
		if err != nil || slices.ContainsFunc(names, func(name string) bool { return name != "key/a" }) {
			t.Fatalf("Changes(%q, %d) = %q, %v; want key/a alone", "key/", start, names, err)
		}
	},
}, {
	name:  "the head only grows, and only with what was replaced",
	why:   "a follower takes a head that went back for writes that the store lost",
	needs: feed,
	run: func(t *trial) {
		t.put("key/a", "", "")
		head := t.head("key/")
		for range 20 {
			if next := t.head("key/"); next != head {
				t.Fatalf("the head moved from %d to %d, and nothing was replaced", head, next)
			}
			t.replace("key/a")
			next := t.head("key/")
			if next <= head {
				t.Fatalf("a value was replaced and the head went from %d to %d", head, next)
			}
			head = next
		}
		if names, _, err := t.feed().Changes(t.Context(), "key/", head); err != nil || len(names) > 0 {
			t.Fatalf("Changes from the head on = %q, %v; want none", names, err)
		}
	},
}, {
	name:  "a long way back is answered in full or with ErrGap",
	why:   "a follower that slept would keep what was changed meanwhile",
	needs: feed,
	run: func(t *trial) {
		t.put("key/old", "", "")
		start := t.head("key/")
		t.replace("key/old")
		t.replaceMany()
		t.changed("key/", start, "key/old", "key/0", "key/15")
	},
}, {
	name:  "a position that is yet to come is told from the head",
	why:   "a follower that has seen more than there is must learn that the store lost writes",
	needs: feed,
	run: func(t *trial) {
		t.replaced("key/a")
		ahead := t.head("key/") + 5
		_, head, err := t.feed().Changes(t.Context(), "key/", ahead)
		if !errors.Is(err, keystore.ErrGap) && (err != nil || head >= ahead) {
			t.Fatalf("Changes after %d = %d, %v; want ErrGap, or a head before it", ahead, head, err)
		}
		if head != t.head("key/") {
			t.Fatalf("Changes after %d has the head %d, want %d", ahead, head, t.head("key/"))
		}
	},
}, {
	name:  "many at once are all in the feed",
	why:   "a change that is committed late would stand behind a position that followers have passed",
	needs: feed,
	run: func(t *trial) {
		names := t.fill("key/a", 10*racers)
		follow := t.follow("key/")
		t.each(racers, func(worker int) error {
			for i := worker; i < len(names); i += racers {
				item, err := t.Get(t.Context(), names[i])
				if err != nil {
					return err
				}
				if _, err := t.Put(t.Context(), names[i], item.Version, []byte("next")); err != nil {
					return err
				}
				if seen, err := follow(); err != nil || !seen(names[i]) {
					return fmt.Errorf("Put(%q) returned, and it is not in the feed: %v", names[i], err)
				}
			}
			return nil
		})
	},
}, {
	name:  "the head in memory is that of the feed",
	why:   "before every use of a key the head is read, and nothing else",
	needs: local,
	run: func(t *trial) {
		l, _ := keystore.LocalOf(t.Store)
		heads := map[string]func() keystore.Cursor{"key/": l.Head("key/"), "alias/": l.Head("alias/")}
		check := func() {
			t.Helper()
			for segment, head := range heads {
				if again := l.Head(segment); head() != t.head(segment) || again() != head() {
					t.Fatalf("the head of %q is %d in memory, %d by a function made later, and %d in the feed",
						segment, head(), again(), t.head(segment))
				}
			}
		}
		check()
		t.put("key/a", "", "")
		t.put("alias/a", "", "")
		for range 3 {
			check()
			t.replace("key/a")
		}
		check()
	},
}}

func (t *trial) feed() keystore.Feed {
	f, _ := keystore.FeedOf(t.Store)
	return f
}

// head asks the feed for its newest position.
func (t *trial) head(segment string) keystore.Cursor {
	t.Helper()
	_, head, err := t.feed().Changes(t.Context(), segment, 0)
	if err != nil && !errors.Is(err, keystore.ErrGap) {
		t.Fatalf("Changes(%q, 0): %v", segment, err)
	}
	return head
}

// replaced creates an item and replaces its value.
func (t *trial) replaced(name string) {
	t.Helper()
	t.put(name, t.put(name, "", ""), "next")
}

// changed tells that names were replaced after a position, or that the feed cannot tell.
func (t *trial) changed(segment string, after keystore.Cursor, want ...string) {
	t.Helper()
	names, head, err := t.feed().Changes(t.Context(), segment, after)
	if errors.Is(err, keystore.ErrGap) {
		names, err = want, nil
	}
	if err != nil {
		t.Fatalf("Changes(%q, %d): %v", segment, after, err)
	}
	if head <= after {
		t.Fatalf("Changes(%q, %d) has the head %d", segment, after, head)
	}
	for _, name := range want {
		if !slices.Contains(names, name) {
			t.Fatalf("Changes(%q, %d) = %q; %q is not in it", segment, after, names, name)
		}
	}
}

// follow returns a function that reads on in the feed, and tells what has been in it. A
// gap is a change of everything.
func (t *trial) follow(segment string) func() (seen func(name string) bool, err error) {
	var (
		mu   sync.Mutex
		at   = t.head(segment)
		met  = map[string]bool{}
		gaps int
	)
	seen := func(name string) bool {
		mu.Lock()
		defer mu.Unlock()
		return gaps > 0 || met[name]
	}
	return func() (func(string) bool, error) {
		mu.Lock()
		defer mu.Unlock()
		names, head, err := t.feed().Changes(t.Context(), segment, at)
		if errors.Is(err, keystore.ErrGap) {
			gaps++
		} else if err != nil {
			return nil, err
		}
		for _, name := range names {
			met[name] = true
		}
		at = head
		return seen, nil
	}
}
