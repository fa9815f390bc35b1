package keystoretest_test

import (
	"context"
	"iter"

	"github.com/keyhold/kms/keystore"
)

var brokenListItems = []broken{{
	how:  "a list reads the values when it begins and the versions as it goes on",
	fail: "List yields a version with its own value",
	flaw: flaw{list: func(m *model, ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
		return func(yield func(keystore.Item, error) bool) {
			begun := map[string]keystore.Item{}
			for item, err := range m.list(ctx, prefix, after) {
				if err != nil {
					yield(keystore.Item{}, err)
					return
				}
				begun[item.Name] = item
			}
			for item, err := range m.list(ctx, prefix, after) {
				if before, ok := begun[item.Name]; ok {
					item.Value = before.Value
				}
				if !yield(item, err) {
					return
				}
			}
		}
	}},
}, {
	how:  "a list yields the first 64 KiB of a value",
	fail: "List yields values of MaxValue bytes",
	flaw: changedInList(func(_ *model, item *keystore.Item) { item.Value = item.Value[:min(len(item.Value), 1<<16)] }),
}}
