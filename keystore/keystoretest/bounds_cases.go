package keystoretest

import (
	"strings"

	"github.com/keyhold/kms/keystore"
)

// allowed are the bytes that a name may have.
const allowed = "-./0123456789:@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

var boundsCases = []testCase{{
	name: "values come back byte for byte",
	why:  "a sealed record that lost one bit does not open any more",
	run: func(t *trial) {
		var every [256]byte
		for i := range every {
			every[i] = byte(i)
		}
		for name, value := range map[string]string{
			"key/every": string(every[:]),
			"key/zeros": strings.Repeat("\x00", 64),
			"key/bad":   "\xff\xfe\xc3\x28 no text",
			"key/space": " \t\n value \r\n ",
		} {
			version := t.put(name, "", value)
			t.holds(name, version, value)
			t.holds(name, t.put(name, version, value+value), value+value)
		}
	},
}, {
	name: "values of no bytes",
	why:  "an empty value is there, and a caller must not take it for absent",
	run: func(t *trial) {
		version, err := t.Put(t.Context(), "key/nil", "", nil)
		if err != nil {
			t.Fatalf("Put of a nil value: %v", err)
		}
		t.holds("key/nil", version, "")
		t.holds("key/empty", t.put("key/empty", "", ""), "")
		t.lists("key/", "", "key/empty", "key/nil")
	},
}, {
	name: "values of MaxValue bytes",
	why:  "a record grows with its key versions, and would fail on the day on which it is rotated once more",
	run: func(t *trial) {
		version := keystore.Version("")
		for _, fill := range []string{"x", "\x00"} {
			value := strings.Repeat(fill, keystore.MaxValue)
			version = t.put("key/large", version, value)
			t.holds("key/large", version, value)
		}
		t.lists("key/", "", "key/large")
	},
}, {
	name: "names of every allowed byte",
	why:  "aliases are names that users choose",
	run: func(t *trial) {
		for i := range len(allowed) {
			name := allowed[i : i+1]
			t.holds(name, t.put(name, "", name), name)
		}
		t.lists("", "", strings.Split(allowed, "")...)
		t.holds(allowed, t.put(allowed, "", "all"), "all")
	},
}, {
	name: "names of MaxName bytes",
	why:  "a name that is cut off is the name of another record",
	run: func(t *trial) {
		stem := strings.Repeat("n", keystore.MaxName-1)
		for _, last := range []string{"a", "b"} {
			t.holds(stem+last, t.put(stem+last, "", last), last)
		}
		t.absent(stem)
		t.absent(stem + "c")
		t.lists(stem, stem+"a", stem+"b")
	},
}}
