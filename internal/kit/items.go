package kit

import (
	"context"
	"errors"
	"testing"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
)

// StoredItems returns all that the store of a service holds.
func StoredItems(t testing.TB, k *kmstest.KMS) (all []keystore.Item) {
	t.Helper()
	for item, err := range k.Store.List(t.Context(), "", "") {
		must(t, "listing the store", err)
		all = append(all, item)
	}
	return all
}

// StoredValue returns the value of an item.
func StoredValue(t testing.TB, k *kmstest.KMS, name string) []byte {
	t.Helper()
	item, err := k.Store.Get(t.Context(), name)
	must(t, "reading "+name, err)
	return item.Value
}

// EditItem changes an item as one could who can write to the store.
func EditItem(t testing.TB, k *kmstest.KMS, name string, change func([]byte) []byte) {
	t.Helper()
	item, err := k.Store.Get(t.Context(), name)
	must(t, "reading "+name, err)
	must(t, "writing "+name, Err(k.Store.Put(t.Context(), name, item.Version, change(item.Value))))
}

// PutItem puts an item in the place of what is there, or of nothing.
func PutItem(t testing.TB, k *kmstest.KMS, name string, value []byte) {
	t.Helper()
	item, err := k.Store.Get(t.Context(), name)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		must(t, "reading "+name, err)
	}
	must(t, "writing "+name, Err(k.Store.Put(t.Context(), name, item.Version, value)))
}

// CopyStore returns a copy of a store in Memory.
func CopyStore(t testing.TB, s keystore.Store) *keystore.Memory {
	t.Helper()
	to := new(keystore.Memory)
	must(t, "copying a store", CopyItems(t.Context(), to, s))
	return to
}

// CopyItems copies all items of a store to an empty one.
func CopyItems(ctx context.Context, to, from keystore.Store) error {
	for item, err := range from.List(ctx, "", "") {
		if err != nil {
			return err
		}
		if _, err := to.Put(ctx, item.Name, "", item.Value); err != nil {
			return err
		}
	}
	return nil
}
