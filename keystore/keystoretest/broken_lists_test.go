package keystoretest_test

import (
	"context"
	"iter"
	"regexp"
	"slices"
	"strings"

	"github.com/keyhold/kms/keystore"
)

var digits = regexp.MustCompile("[0-9]+")

var brokenLists = []broken{{
	how:  "numbers in names are ordered as numbers",
	fail: "List is ordered by bytes",
	flaw: flaw{order: func(a, b string) int {
		pad := func(s string) string { return strings.Repeat("0", 20-len(s)) + s }
		return strings.Compare(digits.ReplaceAllStringFunc(a, pad), digits.ReplaceAllStringFunc(b, pad))
	}},
}, {
	how:  "a list of an empty store is an error",
	fail: "List of an empty store is empty",
	flaw: flaw{list: func(m *model, ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
		if len(m.names("", "")) > 0 {
			return m.list(ctx, prefix, after)
		}
		return func(yield func(keystore.Item, error) bool) { yield(keystore.Item{}, keystore.ErrNotFound) }
	}},
}, {
	how:  "the slash of a prefix is taken for decoration",
	fail: "List keeps to its prefix",
	flaw: flaw{under: func(prefix, name string) bool { return strings.HasPrefix(name, strings.TrimSuffix(prefix, "/")) }},
}, {
	how:  "an underscore in a prefix stands for any byte",
	fail: "List takes its prefix literally",
	flaw: flaw{under: func(prefix, name string) bool {
		for i := range len(prefix) {
			if i >= len(name) || prefix[i] != name[i] && prefix[i] != '_' {
				return false
			}
		}
		return true
	}},
}, {
	how:  "aliases are left out of the list of everything",
	fail: "List of the empty prefix has everything",
	flaw: flaw{under: func(prefix, name string) bool {
		return strings.HasPrefix(name, prefix) && (prefix != "" || !strings.HasPrefix(name, "alias/"))
	}},
}, {
	how:  "a list after an unknown name begins at the first",
	fail: "List begins after a name",
	flaw: flaw{list: func(m *model, ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
		if !slices.Contains(m.names("", ""), after) {
			after = ""
		}
		return m.list(ctx, prefix, after)
	}},
}, {
	how:  "a list yields items without their versions",
	fail: "List yields what Get returns",
	flaw: changedInList(func(_ *model, item *keystore.Item) { item.Version = "" }),
}, {
	how:  "a list hands out the slices that are stored",
	fail: "what List yields is the caller's",
	flaw: changedInList(func(m *model, item *keystore.Item) {
		m.mu.Lock()
		defer m.mu.Unlock()
		item.Value = m.items[item.Name].Value
	}),
}, {
	how:  "a list goes on by how many it has yielded",
	fail: "List survives writes",
	flaw: flaw{list: func(m *model, ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
		return func(yield func(keystore.Item, error) bool) {
			before := m.names(prefix, after)
			for i := 0; ; i++ {
				if err := m.usable(ctx); err != nil {
					yield(keystore.Item{}, err)
					return
				}
				names := m.names(prefix, after)
				if i >= len(names) || names[i] > before[len(before)-1] {
					return
				}
				item, err := m.get(ctx, names[i])
				if !yield(item, err) || err != nil {
					return
				}
			}
		}
	}},
}, {
	how:  "a list goes on for as long as there is something behind",
	fail: "a List ends though its loop adds",
	flaw: flaw{list: func(m *model, ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
		return func(yield func(keystore.Item, error) bool) {
			at := after
			for names := m.names(prefix, at); len(names) > 0; names = m.names(prefix, at) {
				item, err := m.get(ctx, names[0])
				if !yield(item, err) || err != nil {
					return
				}
				at = item.Name
			}
			if err := m.usable(ctx); err != nil {
				yield(keystore.Item{}, err)
			}
		}
	}},
}, {
	how:  "a list is of what there was when it was asked for",
	fail: "a List begins with its loop",
	flaw: flaw{list: func(m *model, ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
		names := m.names(prefix, after)
		return func(yield func(keystore.Item, error) bool) {
			for item, err := range m.list(ctx, prefix, after) {
				if (err != nil || slices.Contains(names, item.Name)) && !yield(item, err) {
					return
				}
			}
		}
	}},
}, {
	how:  "one list at a time",
	fail: "the loop of a List may call the store",
	flaw: flaw{list: func(m *model, ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
		return func(yield func(keystore.Item, error) bool) {
			defer m.held.Add(-1)
			if m.held.Add(1) > 1 {
				yield(keystore.Item{}, errBusy)
				return
			}
			m.list(ctx, prefix, after)(yield)
		}
	}},
}, {
	how:  "a list that is left early keeps its connection, of which there are ten",
	fail: "a List may be left early",
	flaw: flaw{list: func(m *model, ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
		return func(yield func(keystore.Item, error) bool) {
			if m.held.Load() >= 10 {
				yield(keystore.Item{}, errBusy)
				return
			}
			for item, err := range m.list(ctx, prefix, after) {
				if !yield(item, err) {
					m.held.Add(1)
					return
				}
			}
		}
	}},
}}

// changedInList is right but for what it does to the items of a list.
func changedInList(change func(m *model, item *keystore.Item)) flaw {
	return flaw{list: func(m *model, ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
		return func(yield func(keystore.Item, error) bool) {
			for item, err := range m.list(ctx, prefix, after) {
				if err == nil {
					change(m, &item)
				}
				if !yield(item, err) {
					return
				}
			}
		}
	}}
}
