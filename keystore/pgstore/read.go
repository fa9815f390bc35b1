package pgstore

import (
	"cmp"
	"context"
	"iter"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/internal/pages"
)

// Get implements keystore.Store.
func (s *Store) Get(ctx context.Context, name string) (item keystore.Item, err error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return keystore.Item{}, err
	}
	defer leave()
	var version *string
	err = s.again(ctx, "Get", func(ctx context.Context) error {
		var standby bool
		if err := s.pool.Load().QueryRow(ctx, s.sql.get, name).Scan(&standby, &version, &item.Value); err != nil {
			return err
		}
		return primary(standby)
	})
	switch {
	case err != nil:
		return keystore.Item{}, err
	case version == nil:
		return keystore.Item{}, keystore.ErrNotFound
	}
	item.Name, item.Version = name, keystore.Version(*version)
	return item, nil
}

func primary(standby bool) error {
	if standby {
		return ErrStandby
	}
	return nil
}

// pageBytes is how much a page of a List may hold before it ends.
const pageBytes = 1 << 20

// List implements keystore.Store. What is yielded was read up to 256 items or 1 MiB ahead;
// no connection is held while the loop runs.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	return pages.List(ctx, max(after, noItems), func(after, last string, limit int) ([]keystore.Item, string, error) {
		before := end(prefix)
		if last != "" {
			before = last + " " // sorts behind it, and before all that begin with it
		}
		page, newest, err := s.page(ctx, prefix, after, before, limit)
		return page, cmp.Or(last, newest), err
	})
}

// page reads items under prefix that sort after a name and before another, up to a limit, and the name of
// the last that there is.
func (s *Store) page(ctx context.Context, prefix, after, before string, limit int) (page []keystore.Item, last string, err error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, "", err
	}
	defer leave()
	err = s.again(ctx, "List", func(ctx context.Context) error {
		page = nil
		rows, err := s.pool.Load().Query(ctx, s.sql.list, after, prefix, before, limit, pageBytes)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var standby bool
			var name, version *string
			var value []byte
			if err := rows.Scan(&standby, &last, &name, &version, &value); err != nil {
				return err
			}
			if err := primary(standby); err != nil {
				return err
			}
			if name != nil { // else the page is empty
				page = append(page, keystore.Item{Name: *name, Value: value, Version: keystore.Version(*version)})
			}
		}
		return rows.Err()
	})
	if err != nil {
		return nil, "", err
	}
	return page, last, nil
}

// end sorts after all names that begin with prefix, and before all others that sort after
// it. No name has a byte beyond z.
func end(prefix string) string {
	if prefix == "" {
		return "{"
	}
	last := len(prefix) - 1
	return prefix[:last] + string(rune(prefix[last]+1))
}

// furthest is how many names Changes tells before it says that there is a gap: a reader who
// missed so many does better to begin anew.
const furthest = 1024

// Changes implements keystore.Feed. A position is of one primary: after a failover all
// earlier ones are keystore.ErrGap. So is one after which more than 1024 names have new values.
func (s *Store) Changes(ctx context.Context, segment string, after keystore.Cursor) (names []string, head keystore.Cursor, err error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	const positions = 1<<positionBits - 1
	err = s.again(ctx, "Changes", func(ctx context.Context) error {
		var standby bool
		var timeline, position int64
		names = nil
		err := s.pool.Load().QueryRow(ctx, s.sql.changes, segment, int64(after&positions), furthest+1).
			Scan(&standby, &timeline, &position, &names)
		if err != nil {
			return err
		}
		head = keystore.Cursor(timeline<<positionBits | position)
		return primary(standby)
	})
	switch {
	case err != nil:
		return nil, 0, err
	case after > head, after>>positionBits != head>>positionBits, len(names) > furthest:
		return nil, head, keystore.ErrGap
	}
	return names, head, nil
}
