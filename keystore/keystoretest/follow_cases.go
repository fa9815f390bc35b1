package keystoretest

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/keyhold/kms/keystore"
)

var followCases = []testCase{{
	name:  "what a follower keeps is never stale",
	why:   "this is how the service keeps keys: a change that the feed tells before it can be read is read too early, and missed for ever",
	needs: feed,
	run: func(t *trial) {
		const puts = 60
		version := t.put("key/a", "", "0")
		var returned atomic.Int64 // the newest value whose Put has returned
		t.each(4, func(worker int) error {
			if worker > 0 {
				return t.keep("key/a", &returned, puts)
			}
			defer returned.Store(puts) // the followers end, come what may
			for n := 1; n <= puts; n++ {
				var err error
				if version, err = t.Put(t.Context(), "key/a", version, []byte(strconv.Itoa(n))); err != nil {
					return fmt.Errorf("Put(%q): %w", "key/a", err)
				}
				returned.Store(int64(n))
				runtime.Gosched() // let them look
			}
			return nil
		})
	},
}, {
	name:  "the head does not go back while many put",
	why:   "a follower takes a head that went back for writes that the store lost, and drops all that it keeps",
	needs: feed,
	run: func(t *trial) {
		const each = 20
		var writing atomic.Int64
		writing.Store(racers / 2)
		t.each(racers/2+3, func(worker int) error {
			if worker < racers/2 {
				defer writing.Add(-1)
				name, version := fmt.Sprintf("key/%d", worker), keystore.Version("")
				for n := range each {
					var err error
					if version, err = t.Put(t.Context(), name, version, []byte(strconv.Itoa(n))); err != nil {
						return fmt.Errorf("Put(%q): %w", name, err)
					}
				}
				return nil
			}
			for seen := keystore.Cursor(0); writing.Load() > 0; runtime.Gosched() {
				_, head, err := t.feed().Changes(t.Context(), "key/", seen)
				if err != nil && !errors.Is(err, keystore.ErrGap) {
					return fmt.Errorf("Changes(%q, %d): %w", "key/", seen, err)
				}
				if head < seen {
					return fmt.Errorf("the head went back from %d to %d", seen, head)
				}
				seen = head
			}
			return nil
		})
	},
}, {
	name:  "a gap comes with a good head",
	why:   "a follower that was told of a gap goes on from the head beside it, and must miss nothing from there",
	needs: feed,
	run: func(t *trial) {
		t.put("key/old", "", "")
		start := t.head("key/")
		t.replace("key/old")
		t.replaceMany()
		if _, head, err := t.feed().Changes(t.Context(), "key/", start); errors.Is(err, keystore.ErrGap) {
			t.good(start, head)
		}
		for _, ahead := range []keystore.Cursor{1, 2, 5000, math.MaxUint64 / 2} {
			ahead += t.head("key/")
			names, head, err := t.feed().Changes(t.Context(), "key/", ahead)
			if !errors.Is(err, keystore.ErrGap) || len(names) > 0 {
				t.Fatalf("Changes(%q, %d), which is yet to come = %q, %d, %v; want ErrGap", "key/", ahead, names, head, err)
			}
			t.good(ahead, head)
		}
	},
}}

// good tells that the head which came with a gap is the newest position.
func (t *trial) good(after, head keystore.Cursor) {
	t.Helper()
	names, again, err := t.feed().Changes(t.Context(), "key/", head)
	if err != nil || len(names) > 0 || again != head {
		t.Fatalf("Changes(%q, %d) is ErrGap with the head %d; from there on = %q, %d, %v; want nothing",
			"key/", after, head, names, again, err)
	}
	t.replace("key/old")
	names, _, err = t.feed().Changes(t.Context(), "key/", head)
	if err != nil || !slices.Contains(names, "key/old") {
		t.Fatalf("Changes(%q, %d), the head of a gap, after a Put = %q, %v; want key/old", "key/", head, names, err)
	}
}

// keep follows the feed as the service does, with the head in memory where there is one,
// until what it keeps of an item is the last value. What it keeps must never be older
// than a value whose Put had returned when it looked.
func (t *trial) keep(name string, returned *atomic.Int64, last int64) error {
	var head func() keystore.Cursor
	if l, ok := keystore.LocalOf(t.Store); ok {
		head = l.Head("key/")
	}
	var at keystore.Cursor
	for kept := int64(-1); kept < last; runtime.Gosched() {
		least := returned.Load()
		if head == nil || head() != at || kept < 0 {
			names, newest, err := t.feed().Changes(t.Context(), "key/", at)
			gap := errors.Is(err, keystore.ErrGap)
			if err != nil && !gap {
				return fmt.Errorf("Changes(%q, %d): %w", "key/", at, err)
			}
			at = newest
			if gap || kept < 0 || slices.Contains(names, name) {
				if kept, err = t.number(name); err != nil {
					return fmt.Errorf("Get(%q): %w", name, err)
				}
			}
		}
		if kept < least {
			return fmt.Errorf("the feed is at %d, and by it %q has still the value %d; a Put of %d had returned", at, name, kept, least)
		}
	}
	return nil
}

// number reads an item that holds a number.
func (t *trial) number(name string) (int64, error) {
	item, err := t.Get(t.Context(), name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(item.Value), 10, 64)
}
