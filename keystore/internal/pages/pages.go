// Package pages lists the items of a store in pages, for stores that should hold neither a lock
// nor a connection while the body of a caller's loop runs.
package pages

import (
	"context"
	"iter"

	"github.com/keyhold/kms/keystore"
)

// The first page has few items, for a caller that wants one; each page after it has more.
const (
	first = 16
	most  = 256
)

// List yields the items that sort after a name, for keystore.Store.List. It calls read for each
// page, with the name of the last item before the page, the last name that the page may reach, and
// the most items that it may have. For the first page the last name is empty: read finds out which
// there is, and returns it with each page. A page may have fewer items; one without items, or with the
// last name, ends the list. The end of ctx and an error of read end it, too, and are yielded last.
func List(ctx context.Context, after string, read func(after, last string, limit int) ([]keystore.Item, string, error)) iter.Seq2[keystore.Item, error] {
	return func(yield func(keystore.Item, error) bool) {
		at, last, limit := after, "", first
		for {
			page, end, err := read(at, last, limit)
			last = end
			for _, item := range page {
				if ctx.Err() != nil {
					err = ctx.Err()
					break
				}
				if !yield(item, nil) {
					return
				}
				at = item.Name
			}
			if err != nil {
				yield(keystore.Item{}, err)
				return
			}
			if len(page) == 0 || at >= last {
				return
			}
			limit = min(2*limit, most)
		}
	}
}
