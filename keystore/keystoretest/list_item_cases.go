package keystoretest

import (
	"strings"

	"github.com/keyhold/kms/keystore"
)

var listItemCases = []testCase{{
	name: "List yields a version with its own value",
	why:  "a caller puts what it made of the value at the version beside it, and undoes a change that it has not seen",
	run: func(t *trial) {
		const behind = 300
		names := t.fill("key/a", 2*behind)
		values := map[keystore.Version]string{}
		n := 0
		for item, err := range t.List(t.Context(), "key/", "") {
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			if value, replaced := values[item.Version]; replaced && value != string(item.Value) {
				t.Fatalf("List yielded %q with version %q and value %q; that version has %q", item.Name, item.Version, item.Value, value)
			}
			if got, err := t.Get(t.Context(), item.Name); err == nil && got.Version == item.Version {
				t.same(item, got)
			}
			if n%30 == 0 { // what comes next, soon, and last
				for _, next := range []int{n + 1, n + 20, n + behind, 2*behind - 1} {
					name := names[min(next, len(names)-1)]
					version := t.replace(name)
					got, err := t.Get(t.Context(), name)
					if err != nil || got.Version != version {
						t.Fatalf("Get(%q) = version %q, %v; want version %q", name, got.Version, err, version)
					}
					values[version] = string(got.Value)
				}
			}
			n++
		}
	},
}, {
	name: "List yields values of MaxValue bytes",
	why:  "a backup would hold records that do not open",
	run: func(t *trial) {
		large := strings.Repeat("large", keystore.MaxValue)[:keystore.MaxValue]
		t.put("key/large", "", large)
		t.put("key/small", "", "small")
		for item, err := range t.List(t.Context(), "key/", "") {
			if want := map[string]string{"key/large": large, "key/small": "small"}[item.Name]; err != nil || string(item.Value) != want {
				t.Fatalf("List yielded %q with %d bytes, %v; want the %d bytes that were put", item.Name, len(item.Value), err, len(want))
			}
		}
	},
}}
