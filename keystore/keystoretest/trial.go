package keystoretest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/keyhold/kms/keystore"
)

// What the cases say of a Store, in one line each. All end the case where it is not so.

// put returns the version of a Put that must succeed.
func (t *trial) put(name string, old keystore.Version, value string) keystore.Version {
	t.Helper()
	version, err := t.Put(t.Context(), name, old, []byte(value))
	if err != nil {
		t.Fatalf("Put(%q, %q): %v", name, old, err)
	}
	if version == "" {
		t.Fatalf("Put(%q, %q) returned the empty version, which means that there is no item", name, old)
	}
	return version
}

// refused makes a Put that must be ErrConflict.
func (t *trial) refused(name string, old keystore.Version, value string) {
	t.Helper()
	if version, err := t.Put(t.Context(), name, old, []byte(value)); !errors.Is(err, keystore.ErrConflict) || version != "" {
		t.Fatalf("Put(%q, %q) = %q, %v; want no version and ErrConflict", name, old, version, err)
	}
}

// holds tells that an item is there as it was put.
func (t *trial) holds(name string, version keystore.Version, value string) {
	t.Helper()
	item, err := t.Get(t.Context(), name)
	if err != nil {
		t.Fatalf("Get(%q): %v", name, err)
	}
	t.same(item, keystore.Item{Name: name, Version: version, Value: []byte(value)})
}

func (t *trial) same(got, want keystore.Item) {
	t.Helper()
	switch {
	case got.Name != want.Name:
		t.Fatalf("the item is called %q, want %q", got.Name, want.Name)
	case got.Version != want.Version:
		t.Fatalf("%q is at version %q, want %q", got.Name, got.Version, want.Version)
	case !bytes.Equal(got.Value, want.Value):
		t.Fatalf("%q has not the value that was put: %d bytes, want %d", got.Name, len(got.Value), len(want.Value))
	}
}

// absent tells that there is no item of a name.
func (t *trial) absent(name string) {
	t.Helper()
	if item, err := t.Get(t.Context(), name); !errors.Is(err, keystore.ErrNotFound) {
		t.Fatalf("Get(%q) = version %q, %v; want ErrNotFound", name, item.Version, err)
	}
}

// lists tells that a List yields just these names in this order.
func (t *trial) lists(prefix, after string, want ...string) {
	t.Helper()
	got := []string{}
	for item, err := range t.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("List(%q, %q): %v", prefix, after, err)
		}
		if got = append(got, item.Name); len(got) > len(want)+1 {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("List(%q, %q) yielded %q, want %q", prefix, after, got, want)
	}
}

// fill creates n items, name-00000 and on, by many goroutines, and returns their names.
func (t *trial) fill(name string, n int) []string {
	t.Helper()
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%05d", name, i)
	}
	t.each(16, func(worker int) error {
		for i := worker; i < n; i += 16 {
			if _, err := t.Put(t.Context(), names[i], "", []byte(names[i])); err != nil {
				return fmt.Errorf("Put(%q): %w", names[i], err)
			}
		}
		return nil
	})
	return names
}

// each runs f on n goroutines that begin together, and waits for them.
func (t *trial) each(n int, f func(worker int) error) {
	t.Helper()
	var (
		all   sync.WaitGroup
		start = make(chan struct{})
		errs  = make([]error, n)
	)
	for worker := range n {
		all.Go(func() {
			<-start
			errs[worker] = f(worker)
		})
	}
	close(start)
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("%v", err)
	}
}

// replaceMany creates an item a racer, key/0, key/1, …, and replaces each so often that no short
// memory of replacements holds them all: some 1200 times together.
func (t *trial) replaceMany() {
	t.Helper()
	t.each(racers, func(worker int) error {
		name, version := fmt.Sprintf("key/%d", worker), keystore.Version("")
		for i := range 76 {
			var err error
			if version, err = t.Put(t.Context(), name, version, fmt.Append(nil, i)); err != nil {
				return fmt.Errorf("Put(%q): %w", name, err)
			}
		}
		return nil
	})
}
