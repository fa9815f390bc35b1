package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/keystoretest"
)

func TestMemory(t *testing.T) {
	keystoretest.Run(t, keystoretest.Driver{
		Open: func(*testing.T) keystore.Store { return new(keystore.Memory) },
	})
}

func TestMemoryFeed(t *testing.T) {
	t.Parallel()
	const remembered = 1024
	var m keystore.Memory
	version, err := m.Put(t.Context(), "key/a", "", nil)
	require.NoError(t, err)
	replace := func() {
		version, err = m.Put(t.Context(), "key/a", version, nil)
		require.NoError(t, err)
	}
	for range remembered {
		replace()
	}
	names, head, err := m.Changes(t.Context(), "key/", 0)
	require.NoError(t, err)
	require.Len(t, names, remembered)
	require.EqualValues(t, remembered, head)

	replace()
	_, head, err = m.Changes(t.Context(), "key/", 0)
	require.ErrorIs(t, err, keystore.ErrGap, "it does not reach back that far")
	require.EqualValues(t, remembered+1, head)
	_, _, err = m.Changes(t.Context(), "key/", 1)
	require.NoError(t, err)
	_, _, err = m.Changes(t.Context(), "key/", head+1)
	require.ErrorIs(t, err, keystore.ErrGap, "the position is yet to come")
	_, head, err = m.Changes(t.Context(), "", 0)
	require.NoError(t, err)
	require.Zero(t, head)
}

// A wrapper hides the abilities of what it wraps, unless it has Unwrap.
func TestAbilitiesBehindWrappers(t *testing.T) {
	t.Parallel()
	m := new(keystore.Memory)
	opaque := struct{ keystore.Store }{m}
	for name, c := range map[string]struct {
		store keystore.Store
		found bool
	}{
		"itself":       {m, true},
		"Unwrap":       {keystoretest.NewFlaky(m), true},
		"Unwrap twice": {keystoretest.NewFlaky(keystoretest.NewFlaky(m)), true},
		"no Unwrap":    {opaque, false},
		"none below":   {keystoretest.NewFlaky(opaque), false},
		"nil":          {nil, false},
	} {
		feed, ok := keystore.FeedOf(c.store)
		require.Equal(t, c.found, ok, name)
		require.Equal(t, c.found, feed == keystore.Feed(m), name)
		local, ok := keystore.LocalOf(c.store)
		require.Equal(t, c.found, ok, name)
		require.Equal(t, c.found, local == keystore.Local(m), name)
	}
}

func ExampleMemory() {
	ctx := context.Background()
	var store keystore.Memory
	version, err := store.Put(ctx, "key/a", "", []byte("sealed"))
	if err != nil {
		log.Fatal(err)
	}
	_, err = store.Put(ctx, "key/a", version, []byte("sealed again"))
	fmt.Println(err)
	_, err = store.Put(ctx, "key/a", version, []byte("from an old version"))
	fmt.Println(errors.Is(err, keystore.ErrConflict))
	for item, err := range store.List(ctx, "key/", "") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", item.Name, item.Value)
	}
	// Output:
	// <nil>
	// true
	// key/a: sealed again
}
