package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/keystore/keystoretest"
)

func filled(t *testing.T, n int) *keystore.Memory {
	m := new(keystore.Memory)
	for i := range n {
		put(t, m, fmt.Sprintf("key/%04d", i), fmt.Sprint("value ", i))
	}
	return m
}

// put creates an item, or replaces its value.
func put(t *testing.T, s keystore.Store, name, value string) {
	t.Helper()
	item, err := s.Get(t.Context(), name)
	if err != nil {
		require.ErrorIs(t, err, keystore.ErrNotFound)
	}
	_, err = s.Put(t.Context(), name, item.Version, []byte(value))
	require.NoError(t, err)
}

func same(t *testing.T, a, b keystore.Store) {
	t.Helper()
	values := func(s keystore.Store) map[string]string {
		all := map[string]string{}
		for item, err := range s.List(t.Context(), "", "") {
			require.NoError(t, err)
			all[item.Name] = string(item.Value)
		}
		return all
	}
	require.Equal(t, values(a), values(b))
}

// TestCopy: all of it, from one kind of store to another and back, and told as it goes.
func TestCopy(t *testing.T) {
	t.Parallel()
	src, back := filled(t, 500), new(keystore.Memory)
	put(t, src, "plain", "")
	file, err := boltstore.Open(filepath.Join(t.TempDir(), "keys.db"), &boltstore.Options{Create: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	var told []keystore.CopyProgress
	done, err := keystore.Copy(t.Context(), file, src, &keystore.CopyOptions{
		Progress: func(p keystore.CopyProgress) { told = append(told, p) },
	})
	require.NoError(t, err)
	require.Equal(t, keystore.CopyProgress{Name: "plain", Written: 501, Verified: 501}, done)
	require.Len(t, told, 2*501)
	require.Equal(t, done, told[len(told)-1])
	for i, p := range told {
		require.Equal(t, i+1, p.Written+p.Present+p.Verified)
		require.NotEmpty(t, p.Name)
	}
	_, err = keystore.Copy(t.Context(), back, file, nil)
	require.NoError(t, err)
	same(t, src, back)
}

// TestCopyGoesOn: a copy that was stopped, or that an error ended, goes on where it was.
func TestCopyGoesOn(t *testing.T) {
	t.Parallel()
	src, dst := filled(t, 300), new(keystore.Memory)
	ctx, cancel := context.WithCancel(t.Context())
	stopped, err := keystore.Copy(ctx, dst, src, &keystore.CopyOptions{Writers: 4, Progress: func(p keystore.CopyProgress) {
		if p.Written == 100 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, stopped.Written, 110)
	require.Zero(t, stopped.Verified)

	fails := keystoretest.NewFlaky(dst)
	full, puts := errors.New("no space left"), 0
	fails.OnPut(func(string) (bool, error) {
		if puts++; puts > 200 {
			return puts%2 == 0, full // some are written all the same
		}
		return true, nil
	})
	failed, err := keystore.Copy(t.Context(), fails, src, &keystore.CopyOptions{Writers: 1})
	require.ErrorIs(t, err, full)
	require.Equal(t, stopped.Written, failed.Present)

	done, err := keystore.Copy(t.Context(), dst, src, nil)
	require.NoError(t, err)
	require.Equal(t, 300, done.Written+done.Present)
	require.GreaterOrEqual(t, done.Present, failed.Present+failed.Written)
	require.Equal(t, 300, done.Verified)
	same(t, src, dst)
}

// TestCopyDiffers: a destination that has something else is left as it is, unless it is to
// be replaced; and what it has alone, or lost, is found.
func TestCopyDiffers(t *testing.T) {
	t.Parallel()
	differs := func(err error, name string) {
		t.Helper()
		var d *keystore.DiffersError
		require.ErrorIs(t, err, keystore.ErrDiffers)
		require.ErrorAs(t, err, &d)
		require.Equal(t, name, d.Name)
	}
	src, dst := filled(t, 20), new(keystore.Memory)
	put(t, dst, "key/0007", "other")
	_, err := keystore.Copy(t.Context(), dst, src, nil)
	differs(err, "key/0007")
	item, err := dst.Get(t.Context(), "key/0007")
	require.NoError(t, err)
	require.Equal(t, "other", string(item.Value))
	done, err := keystore.Copy(t.Context(), dst, src, &keystore.CopyOptions{Replace: true})
	require.NoError(t, err)
	require.Equal(t, 20, done.Verified)
	same(t, src, dst)

	for _, alone := range []string{"alias/a", "key/0003a", "usage/a"} {
		src, dst := filled(t, 20), new(keystore.Memory)
		put(t, dst, alone, "")
		_, err := keystore.Copy(t.Context(), dst, src, &keystore.CopyOptions{Replace: true})
		differs(err, alone)
	}
	lies := keystoretest.NewFlaky(new(keystore.Memory))
	lies.OnPut(func(name string) (bool, error) { return name != "key/0011", nil })
	_, err = keystore.Copy(t.Context(), lies, src, nil)
	differs(err, "key/0011")
	_, err = keystore.Copy(t.Context(), keystoretest.NewFlaky(new(keystore.Memory)), keystoretest.NewFlaky(src), nil)
	require.NoError(t, err)
}

// TestCopyReadsFail: an error of either store, while it is read, is the answer.
func TestCopyReadsFail(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, at := range []string{"", "key/0005"} {
		src, dst := keystoretest.NewFlaky(filled(t, 20)), keystoretest.NewFlaky(new(keystore.Memory))
		fail := func(name string) error {
			if name == at {
				return broken
			}
			return nil
		}
		src.OnList(fail)
		_, err := keystore.Copy(t.Context(), dst, src, nil)
		require.ErrorIs(t, err, broken)
		src.OnList(nil)
		dst.OnList(fail)
		_, err = keystore.Copy(t.Context(), dst, src, nil)
		require.ErrorIs(t, err, broken)
	}
}
