package keystoretest

import (
	"errors"
	"fmt"

	"github.com/keyhold/kms/keystore"
)

var reopenCases = []testCase{{
	name:  "what was put is there after the store was opened again",
	why:   "keys would be lost with the process, and with them all that they protect",
	needs: reopenable,
	run: func(t *trial) {
		first := t.put("key/a", "", "one")
		versions := map[string]keystore.Version{"key/a": t.put("key/a", first, "two"), "key/b": t.put("key/b", "", "")}
		t.Store = t.reopen(t.Store)
		t.holds("key/a", versions["key/a"], "two")
		t.holds("key/b", versions["key/b"], "")
		t.lists("", "", "key/a", "key/b")
		t.refused("key/a", "", "three")
		t.refused("key/a", first, "three")
		t.put("key/a", versions["key/a"], "three")
	},
}, {
	name:  "versions never repeat after the store was opened again",
	why:   "a writer that read before a restart would overwrite what was put after it",
	needs: reopenable,
	run: func(t *trial) {
		seen := map[keystore.Version]bool{}
		version := keystore.Version("")
		for life := range 3 {
			for i := range 5 {
				version = t.put("key/a", version, fmt.Sprint(i))
				if seen[version] {
					t.Fatalf("version %q was given again after the store was opened %d times", version, life+1)
				}
				seen[version] = true
			}
			t.Store = t.reopen(t.Store)
		}
	},
}, {
	name:  "a closed store is ErrClosed",
	why:   "a program that shuts down would take it for a damaged store",
	needs: reopenable,
	run: func(t *trial) {
		version := t.put("key/a", "", "value")
		closed := t.Store
		t.Store = t.reopen(closed)
		check := func(method string, err error) {
			t.Helper()
			if !errors.Is(err, keystore.ErrClosed) {
				t.Fatalf("%s of a closed store: %v; want ErrClosed", method, err)
			}
		}
		_, err := closed.Get(t.Context(), "key/a")
		check("Get", err)
		_, err = closed.Put(t.Context(), "key/a", version, nil)
		check("Put", err)
		err = nil
		for _, err = range closed.List(t.Context(), "", "") {
			continue
		}
		check("List", err)
		if f, ok := keystore.FeedOf(closed); ok {
			_, _, err := f.Changes(t.Context(), "key/", 0)
			check("Changes", err)
		}
		t.holds("key/a", version, "value")
	},
}}
