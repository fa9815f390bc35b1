package keystoretest_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/keystoretest"
)

func TestFlakyWithoutHooks(t *testing.T) {
	t.Parallel()
	keystoretest.Run(t, keystoretest.Driver{
		Open: func(*testing.T) keystore.Store { return keystoretest.NewFlaky(new(keystore.Memory)) },
	})
}

// Whether a Put is made and what its caller is told are two things.
func TestFlakyPut(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for _, c := range []struct {
		apply bool
		err   error
	}{{true, nil}, {false, nil}, {true, down}, {false, down}} {
		f := keystoretest.NewFlaky(new(keystore.Memory))
		f.OnPut(func(name string) (bool, error) {
			require.Equal(t, "key/a", name)
			return c.apply, c.err
		})
		version, err := f.Put(t.Context(), "key/a", "", []byte("value"))
		require.Equal(t, c.err, err)
		require.Equal(t, c.err == nil, version != "")
		item, err := f.Get(t.Context(), "key/a")
		if !c.apply {
			require.ErrorIs(t, err, keystore.ErrNotFound)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, "value", string(item.Value))
		if c.err == nil {
			require.Equal(t, item.Version, version)
		}

		f.OnPut(nil)
		_, err = f.Put(t.Context(), "key/a", "", nil)
		require.ErrorIs(t, err, keystore.ErrConflict, "a Put that is made fails as it would without Flaky")
	}
}

func TestFlakyGetAndList(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	f := keystoretest.NewFlaky(new(keystore.Memory))
	for _, name := range []string{"key/a", "key/b", "key/c"} {
		_, err := f.Put(t.Context(), name, "", nil)
		require.NoError(t, err)
	}
	failing := func(bad string) func(string) error {
		return func(name string) error {
			if name == bad {
				return down
			}
			return nil
		}
	}
	f.OnGet(failing("key/b"))
	_, err := f.Get(t.Context(), "key/b")
	require.ErrorIs(t, err, down)
	_, err = f.Get(t.Context(), "key/a")
	require.NoError(t, err)

	for bad, want := range map[string][]string{
		"key/":  nil,
		"key/a": nil,
		"key/c": {"key/a", "key/b"},
		"":      {"key/a", "key/b", "key/c"},
	} {
		f.OnList(failing(bad))
		var got []string
		var last error
		for item, err := range f.List(t.Context(), "key/", "") {
			if last = err; err == nil {
				got = append(got, item.Name)
			}
		}
		require.Equal(t, want, got, bad)
		require.Equal(t, bad != "", errors.Is(last, down), bad)
	}
	require.Equal(t, keystoretest.Calls{Get: 2, Put: 3, List: 4}, f.Calls())
}

func TestFlakyFailNext(t *testing.T) {
	t.Parallel()
	first, second := errors.New("first"), errors.New("second")
	f := keystoretest.NewFlaky(new(keystore.Memory))
	f.FailNext(keystoretest.Put, true, first)
	f.FailNext(keystoretest.Get, false, second)
	f.FailPuts(2, false, second)

	for _, want := range []error{first, second, second, keystore.ErrConflict} {
		_, err := f.Put(t.Context(), "key/a", "", nil)
		require.ErrorIs(t, err, want)
	}
	_, err := f.Get(t.Context(), "key/a")
	require.ErrorIs(t, err, second)
	_, err = f.Get(t.Context(), "key/a")
	require.NoError(t, err, "the first Put was made")
}

// Before lets a test be faster than a call.
func TestFlakyBefore(t *testing.T) {
	t.Parallel()
	f := keystoretest.NewFlaky(new(keystore.Memory))
	var calls []keystoretest.Call
	f.Before(func(c keystoretest.Call) {
		calls = append(calls, c)
		if c.N == 2 {
			_, err := f.Unwrap().Put(t.Context(), c.Name, "", []byte("faster"))
			require.NoError(t, err)
			f.Before(nil)
		}
	})
	_, err := f.Get(t.Context(), "key/a")
	require.ErrorIs(t, err, keystore.ErrNotFound)
	_, err = f.Put(t.Context(), "key/a", "", []byte("slower"))
	require.ErrorIs(t, err, keystore.ErrConflict)
	require.Equal(t, []keystoretest.Call{{keystoretest.Get, "key/a", 1}, {keystoretest.Put, "key/a", 2}}, calls)
}

// Hooks may be set while calls run; the race detector watches.
func TestFlakyHooksAtAnyTime(t *testing.T) {
	t.Parallel()
	f := keystoretest.NewFlaky(new(keystore.Memory))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				_, _ = f.Put(t.Context(), "key/a", "", nil)
				_, _ = f.Get(t.Context(), "key/a")
				for range f.List(t.Context(), "", "") {
					continue
				}
			}
		})
		all.Go(func() {
			for range 200 {
				f.Before(func(keystoretest.Call) {})
				f.OnPut(func(string) (bool, error) { return true, nil })
				f.OnGet(func(string) error { return nil })
				f.OnList(nil)
				f.FailNext(keystoretest.List, false, errors.New("down"))
				_ = f.Calls()
			}
		})
	}
	all.Wait()
	require.Equal(t, keystoretest.Calls{Get: 800, Put: 800, List: 800}, f.Calls())
}
