package keystoretest

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"

	"github.com/keyhold/kms/keystore"
)

const racers = 16

var raceCases = []testCase{{
	name: "writers of one counter lose nothing",
	why:  "two changes of one record at the same time would both be acknowledged and one of them lost",
	run: func(t *trial) {
		const rounds = 20
		t.put("key/counter", "", "0")
		t.each(racers, func(int) error {
			for range rounds {
				if err := increment(t, "key/counter"); err != nil {
					return err
				}
			}
			return nil
		})
		item, err := t.Get(t.Context(), "key/counter")
		if err != nil || string(item.Value) != strconv.Itoa(racers*rounds) {
			t.Fatalf("the counter is %q (%v) after %d increments", item.Value, err, racers*rounds)
		}
	},
}, {
	name: "of many creators one wins",
	why:  "an alias would be given to two keys, a root made twice",
	run: func(t *trial) {
		for round := range 20 {
			name := fmt.Sprintf("alias/%d", round)
			var won atomic.Int64
			t.each(racers, func(worker int) error {
				_, err := t.Put(t.Context(), name, "", []byte(strconv.Itoa(worker)))
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, keystore.ErrConflict) {
					return fmt.Errorf("Put(%q): %w", name, err)
				}
				return nil
			})
			if won.Load() != 1 {
				t.Fatalf("%d of %d creators of %q were told that they made it", won.Load(), racers, name)
			}
		}
	},
}, {
	name: "what was read is not unread",
	why:  "a key that somebody has found disabled would be enabled for the next who looks",
	run: func(t *trial) {
		const last = 100
		version := t.put("key/counter", "", "0")
		var known atomic.Int64 // the newest value that was put or read
		t.each(racers/2, func(worker int) error {
			if worker == 0 {
				defer known.Store(last) // else the readers would not end after an error
				for n := 1; n <= last; n++ {
					var err error
					if version, err = t.Put(t.Context(), "key/counter", version, []byte(strconv.Itoa(n))); err != nil {
						return fmt.Errorf("Put: %w", err)
					}
					raise(&known, int64(n))
					runtime.Gosched() // let them read this one
				}
			}
			for n := int64(0); n < last; runtime.Gosched() { // until the last is read
				floor := known.Load()
				item, err := t.Get(t.Context(), "key/counter")
				if err != nil {
					return fmt.Errorf("Get: %w", err)
				}
				n, err = strconv.ParseInt(string(item.Value), 10, 64)
				if err != nil || n < floor {
					return fmt.Errorf("Get returned %q after %d had been put or read", item.Value, floor)
				}
				raise(&known, n)
			}
			return nil
		})
	},
}, {
	name: "writers of many names all succeed",
	why:  "a program that serves many callers at once would refuse some of them for no reason",
	run: func(t *trial) {
		t.each(racers, func(worker int) error {
			name, version := fmt.Sprintf("key/%d", worker), keystore.Version("")
			for i := range 20 {
				value := fmt.Sprintf("%d of %d", i, worker)
				next, err := t.Put(t.Context(), name, version, []byte(value))
				if err != nil {
					return fmt.Errorf("Put(%q, %q): %w", name, version, err)
				}
				item, err := t.Get(t.Context(), name)
				if err != nil {
					return fmt.Errorf("Get(%q): %w", name, err)
				}
				if item.Version != next || string(item.Value) != value {
					return fmt.Errorf("Get(%q) = version %q; want version %q", name, item.Version, next)
				}
				version = next
			}
			return nil
		})
	},
}}

// raise makes a number at least n.
func raise(number *atomic.Int64, n int64) {
	for now := number.Load(); now < n && !number.CompareAndSwap(now, n); now = number.Load() {
		continue
	}
}

// increment adds one to a number, however often somebody else is faster.
func increment(s *trial, name string) error {
	for {
		item, err := s.Get(s.Context(), name)
		if err != nil {
			return fmt.Errorf("Get(%q): %w", name, err)
		}
		n, err := strconv.Atoi(string(item.Value))
		if err != nil {
			return err
		}
		_, err = s.Put(s.Context(), name, item.Version, []byte(strconv.Itoa(n+1)))
		if err == nil {
			return nil
		}
		if !errors.Is(err, keystore.ErrConflict) {
			return fmt.Errorf("Put(%q): %w", name, err)
		}
	}
}
