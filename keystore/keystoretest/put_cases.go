package keystoretest

import (
	"fmt"

	"github.com/keyhold/kms/keystore"
)

var putCases = []testCase{{
	name: "a Put is seen by the next Get",
	why:  "a key that was disabled must be found disabled by whoever looks after the call returned",
	run: func(t *trial) {
		version := t.put("key/a", "", "one")
		t.holds("key/a", version, "one")
		for i := range 3 {
			value := fmt.Sprint("next ", i)
			version = t.put("key/a", version, value)
			t.holds("key/a", version, value)
		}
	},
}, {
	name: "Get of what is absent is ErrNotFound",
	why:  "absent and out of order are different answers: the one refuses a call, the other is tried again",
	run: func(t *trial) {
		t.absent("key/a")
		t.put("key/ab", "", "")
		t.absent("key/a")
		t.absent("key/abc")
		t.absent("key/")
	},
}, {
	name: "create is exclusive",
	why:  "an alias or an import token would be given to two owners",
	run: func(t *trial) {
		version := t.put("alias/a", "", "first")
		t.refused("alias/a", "", "second")
		t.refused("alias/a", "", "first")
		version = t.put("alias/a", version, "")
		t.refused("alias/a", "", "over an empty value")
		t.holds("alias/a", version, "")
	},
}, {
	name: "a stale Put is refused",
	why:  "somebody would undo a change that he has not seen: a key that was disabled would be enabled",
	run: func(t *trial) {
		first := t.put("key/a", "", "one")
		second := t.put("key/a", first, "two")
		t.refused("key/a", first, "three")
		t.holds("key/a", second, "two")
		t.refused("key/a", second+"0", "three")
		t.holds("key/a", second, "two")
	},
}, {
	name: "a stale Put is refused though the value is the same again",
	why:  "a store that compares values would not see that a key was suspended and resumed in between",
	run: func(t *trial) {
		first := t.put("key/a", "", "A")
		second := t.put("key/a", first, "B")
		third := t.put("key/a", second, "A")
		t.refused("key/a", first, "C")
		t.holds("key/a", third, "A")
	},
}, {
	name: "a Put of the same value makes a version",
	why:  "of two writers that put the same both would believe that they were the one",
	run: func(t *trial) {
		first := t.put("key/a", "", "same")
		second := t.put("key/a", first, "same")
		if second == first {
			t.Fatalf("version %q was given twice", first)
		}
		t.refused("key/a", first, "same")
		t.holds("key/a", second, "same")
	},
}, {
	name: "a version of an absent name is ErrConflict",
	why:  "an update would create a record out of nothing",
	run: func(t *trial) {
		version := t.put("key/a", "", "")
		t.refused("key/b", version, "")
		t.absent("key/b")
	},
}, {
	name: "a refused Put changes nothing",
	why:  "a writer that lost would disturb the one that won: its next Put would be refused",
	run: func(t *trial) {
		first := t.put("key/a", "", "one")
		second := t.put("key/a", first, "two")
		for range 3 {
			t.refused("key/a", first, "three")
			t.refused("key/a", "", "three")
		}
		t.holds("key/a", second, "two")
		t.holds("key/a", t.put("key/a", second, "four"), "four")
	},
}, {
	name: "versions never repeat",
	why:  "a writer that read long ago would find its version again, and overwrite what it never saw",
	run: func(t *trial) {
		seen := map[keystore.Version]int{}
		version := keystore.Version("")
		for i := range 100 {
			version = t.put("key/a", version, fmt.Sprint(i%2))
			if before, ok := seen[version]; ok {
				t.Fatalf("Put %d returned version %q, as Put %d did", i, version, before)
			}
			seen[version] = i
			if i%40 == 0 {
				t.refused("key/a", "", "")
			}
			t.put(fmt.Sprintf("key/other-%d", i), "", "")
		}
	},
}, {
	name: "names do not disturb each other",
	why:  "the change of one record would be lost in the change of another",
	run: func(t *trial) {
		names := []string{"key/a", "key/A", "key/a/", "key/a.", "Key/a", "key-a", "key/aa", "a", "/a", "a/"}
		versions := map[string]keystore.Version{}
		for _, name := range names {
			versions[name] = t.put(name, "", name)
		}
		for _, name := range names {
			versions[name] = t.put(name, versions[name], "next "+name)
			for _, other := range names {
				if item, err := t.Get(t.Context(), other); err != nil || item.Version != versions[other] {
					t.Fatalf("after a Put of %q, Get(%q) = version %q, %v; want version %q",
						name, other, item.Version, err, versions[other])
				}
			}
		}
	},
}, {
	name: "what is put is not kept",
	why:  "the caller wipes or reuses its buffer, and the stored record would change with it",
	run: func(t *trial) {
		value := []byte("value")
		version, err := t.Put(t.Context(), "key/a", "", value)
		if err != nil {
			t.Fatalf("Put: %v", err)
		}
		clear(value)
		t.holds("key/a", version, "value")

		value = []byte("other")
		if version, err = t.Put(t.Context(), "key/a", version, value); err != nil {
			t.Fatalf("Put: %v", err)
		}
		clear(value)
		t.holds("key/a", version, "other")
	},
}, {
	name: "what Get returns is the caller's",
	why:  "a caller that wipes a record it has read would wipe it for all",
	run: func(t *trial) {
		version := t.put("key/a", "", "value")
		for range 2 {
			item, err := t.Get(t.Context(), "key/a")
			if err != nil {
				t.Fatalf("Get: %v", err)
			}
			clear(item.Value[:cap(item.Value)])
			t.holds("key/a", version, "value")
		}
	},
}}
