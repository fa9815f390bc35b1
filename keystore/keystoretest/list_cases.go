package keystoretest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyhold/kms/keystore"
)

var listCases = []testCase{{
	name: "List is ordered by bytes",
	why:  "a listing goes on after the last name it has seen, and would leave out what sorts elsewhere",
	run: func(t *trial) {
		names := []string{"k/b", "k/B", "k/_", "k/a", "k/A", "k/10", "k/9", "k/a-", "k/a/", "k/a.b", "k/aB", "k/ab", "k/:"}
		for _, name := range names {
			t.put(name, "", "")
		}
		slices.Sort(names)
		t.lists("k/", "", names...)
	},
}, {
	name: "List of an empty store is empty",
	why:  "a program that starts for the first time asks what there is",
	run: func(t *trial) {
		t.lists("", "")
		t.lists("key/", "")
		t.lists("key/", "key/a")
	},
}, {
	name: "List keeps to its prefix",
	why:  "the keys of one instance would be listed, or released, with those of another",
	run: func(t *trial) {
		for _, name := range []string{"a", "a-", "a/", "a/b", "a/b/c", "a0", "ab", "A/b", "b", "0"} {
			t.put(name, "", "")
		}
		t.lists("a/", "", "a/", "a/b", "a/b/c")
		t.lists("a", "", "a", "a-", "a/", "a/b", "a/b/c", "a0", "ab")
		t.lists("a/b/c", "", "a/b/c")
		t.lists("a/b/c/", "")
		t.lists("zz", "")
	},
}, {
	name: "List takes its prefix literally",
	why:  "a prefix is no pattern: an underscore in a name would match what is another's",
	run: func(t *trial) {
		for _, name := range []string{"a_c/1", "abc/1", "a.c/1", "A_C/1"} {
			t.put(name, "", "")
		}
		t.lists("a_c/", "", "a_c/1")
		t.lists("a.c", "", "a.c/1")
	},
}, {
	name: "List of the empty prefix has everything",
	why:  "a backup would leave something out",
	run: func(t *trial) {
		for _, name := range []string{"z", "key/a", "alias/a", "Z", "0"} {
			t.put(name, "", "")
		}
		t.lists("", "", "0", "Z", "alias/a", "key/a", "z")
		t.lists("", "Z", "alias/a", "key/a", "z")
	},
}, {
	name: "List begins after a name",
	why:  "a page of a listing would repeat the last item of the page before, or leave one out",
	run: func(t *trial) {
		for _, name := range []string{"a/x", "key/a", "key/c", "key/c/d", "z"} {
			t.put(name, "", "")
		}
		t.lists("key/", "key/a", "key/c", "key/c/d")
		t.lists("key/", "key/b", "key/c", "key/c/d")
		t.lists("key/", "key/c/d")
		t.lists("key/", "a", "key/a", "key/c", "key/c/d")
		t.lists("key/", "key/", "key/a", "key/c", "key/c/d")
		t.lists("key/", "z")
		t.lists("key/", "key0")
	},
}, {
	name: "List yields what Get returns",
	why:  "a caller changes what it has found in a list, with the version that it found",
	run: func(t *trial) {
		first := t.put("key/a", "", "one")
		versions := map[string]keystore.Version{"key/a": t.put("key/a", first, "two"), "key/b": t.put("key/b", "", "")}
		values := map[string]string{"key/a": "two", "key/b": ""}
		for item, err := range t.List(t.Context(), "key/", "") {
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			t.same(item, keystore.Item{Name: item.Name, Version: versions[item.Name], Value: []byte(values[item.Name])})
			t.put(item.Name, item.Version, "next")
		}
	},
}, {
	name: "what List yields is the caller's",
	why:  "a caller that wipes a record it has read would wipe it for all",
	run: func(t *trial) {
		version := t.put("key/a", "", "value")
		for item, err := range t.List(t.Context(), "", "") {
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			clear(item.Value[:cap(item.Value)])
		}
		t.holds("key/a", version, "value")
	},
}, {
	name: "List survives writes",
	why:  "maintenance changes the records that it lists, while others create new ones",
	run: func(t *trial) {
		names := t.fill("key/a", 600)
		want := slices.Clone(names)
		var last string
		n := 0
		for item, err := range t.List(t.Context(), "key/", "") {
			if err != nil {
				t.Fatalf("List, after %d items: %v", n, err)
			}
			if item.Name <= last {
				t.Fatalf("List yielded %q after %q", item.Name, last)
			}
			last = item.Name
			if at := slices.Index(want, item.Name); at >= 0 {
				want = slices.Delete(want, at, at+1)
			}
			if n++; n%50 == 1 {
				for _, name := range []string{names[0], item.Name, names[len(names)-1]} {
					t.replace(name)
				}
				t.put(item.Name+"-behind", "", "")
				t.put("key/0-"+item.Name[4:], "", "")
			}
		}
		if len(want) > 0 {
			t.Fatalf("List left out %d of %d items that were there when it began, %q first", len(want), len(names), want[0])
		}
	},
}, {
	name: "a List ends though its loop adds",
	why:  "a loop that makes a successor of each key goes on for ever",
	run: func(t *trial) {
		names := t.fill("key/a", 600)
		for _, prefix := range []string{"key/", ""} {
			var got, want []string
			for item, err := range t.List(t.Context(), prefix, names[0]) {
				if err != nil {
					t.Fatalf("List: %v", err)
				}
				want = append(want, item.Name)
			}
			for item, err := range t.List(t.Context(), prefix, names[0]) {
				if err != nil {
					t.Fatalf("List: %v", err)
				}
				if len(got) == len(want) {
					t.Fatalf("List of %q went on to %q, which was put while it ran", prefix, item.Name)
				}
				got = append(got, item.Name)
				t.put(fmt.Sprintf("%sz%04d", prefix, len(got)), "", "") // behind all
			}
			if !slices.Equal(got, want) {
				t.Fatalf("List of %q yielded %d items, and not the %d that were there when it began", prefix, len(got), len(want))
			}
		}
	},
}, {
	name: "a List begins with its loop",
	why:  "who prepares a list and then creates a record expects to find it",
	run: func(t *trial) {
		t.put("key/b", "", "")
		list := t.List(t.Context(), "key/", "")
		t.put("key/a", "", "")
		var got []string
		for item, err := range list {
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			got = append(got, item.Name)
		}
		if !slices.Equal(got, []string{"key/a", "key/b"}) {
			t.Fatalf("List yielded %q; key/a was put before the loop began", got)
		}
	},
}, {
	name: "the loop of a List may call the store",
	why:  "a store that holds a lock or its only connection while the loop runs stops there for ever",
	run: func(t *trial) {
		t.put("key/a", "", "")
		t.put("key/b", "", "")
		n := 0
		for item, err := range t.List(t.Context(), "key/", "") {
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			got, err := t.Get(t.Context(), item.Name)
			if err != nil {
				t.Fatalf("Get inside the loop: %v", err)
			}
			t.put("inside/"+item.Name, "", "")
			t.put(item.Name, got.Version, "next")
			t.lists("key/", "", "key/a", "key/b")
			n++
		}
		if n != 2 {
			t.Fatalf("the loop had %d rounds, want 2", n)
		}
	},
}, {
	name: "a List may be left early",
	why:  "a first page leaves the loop: what the list holds must come free, or the store has it a few times only",
	run: func(t *trial) {
		names := t.fill("key/a", 40)
		for range 50 {
			for item, err := range t.List(t.Context(), "key/", names[9]) {
				if err != nil {
					t.Fatalf("List: %v", err)
				}
				if item.Name != names[10] {
					t.Fatalf("List after %q began with %q", names[9], item.Name)
				}
				break
			}
		}
		t.replace(names[0])
		t.lists("key/", "", names...)
	},
}}

// replace puts a new value in an item that is there.
func (t *trial) replace(name string) keystore.Version {
	t.Helper()
	item, err := t.Get(t.Context(), name)
	if err != nil {
		t.Fatalf("Get(%q): %v", name, err)
	}
	return t.put(name, item.Version, strings.Repeat("r", len(item.Value)+1))
}
