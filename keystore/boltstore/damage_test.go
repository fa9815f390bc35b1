package boltstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
)

// sampleItems is what sample puts: enough for branch pages, long values and free pages.
const sampleItems = 400

// sample returns the file of a store, and how much of it is in use.
func sample(t *testing.T) (content []byte, used int) {
	t.Helper()
	path := newPath(t)
	s, err := boltstore.Open(path, &boltstore.Options{Create: true})
	require.NoError(t, err)
	group(s, sampleItems, func(i int) (keystore.Version, error) {
		return s.Put(t.Context(), sampleName(i), "", sampleValue(i))
	})
	for i := range 4 { // these leave pages behind that are free
		item, err := s.Get(t.Context(), sampleName(100*i))
		require.NoError(t, err)
		_, err = s.Put(t.Context(), item.Name, item.Version, item.Value)
		require.NoError(t, err)
	}
	used = s.Used(t)
	require.NoError(t, s.Close())
	content, err = os.ReadFile(path)
	require.NoError(t, err)
	require.LessOrEqual(t, used, len(content))
	return content, used
}

func sampleName(i int) string { return fmt.Sprintf("key/%04d", i) }

func sampleValue(i int) []byte {
	size := 150
	if i%100 == 0 {
		size = 9000 // takes pages of its own
	}
	return bytes.Repeat([]byte{byte(i)}, size)
}

// honest is what a store may say of a file that was damaged.
func honest(t *testing.T, err error, may ...error) {
	t.Helper()
	for _, m := range append(may, nil, boltstore.ErrDamaged) {
		if errors.Is(err, m) {
			return
		}
	}
	require.NoError(t, err, "an error that is not ErrDamaged")
}

// exercise uses a file that may be damaged in every way, and tells whether anything was
// noticed. It must come to an end.
func exercise(t *testing.T, path string) (noticed bool) {
	t.Helper()
	s, err := boltstore.Open(path, &boltstore.Options{Create: true})
	if err != nil {
		honest(t, err, boltstore.ErrForeign)
		return true
	}
	note := func(err error, may ...error) {
		honest(t, err, may...)
		noticed = noticed || err != nil
	}
	defer func() { note(s.Close()) }()
	last, listed := "", 0
	for item, err := range s.List(t.Context(), "", "") {
		if note(err); err != nil {
			break
		}
		require.Less(t, last, item.Name)
		last = item.Name
		listed++
	}
	noticed = noticed || listed != sampleItems
	for i := 0; i < sampleItems; i += 7 {
		item, err := s.Get(t.Context(), sampleName(i))
		note(err, keystore.ErrNotFound)
		if i == 70 && err == nil {
			_, err = s.Put(t.Context(), item.Name, item.Version, item.Value)
			note(err, keystore.ErrConflict)
		}
	}
	_, err = s.Put(t.Context(), "key/new", "", make([]byte, 20000))
	note(err, keystore.ErrConflict)
	return noticed
}

// TestTruncated: a file that lacks anything it needs is refused, and so is one of any
// shorter length.
func TestTruncated(t *testing.T) {
	t.Parallel()
	content, used := sample(t)
	page := os.Getpagesize()
	lengths := []int{0, 1, 15, 16, 80, 1000}
	for at := page; at <= len(content); at += page {
		lengths = append(lengths, at-1, at, at+1)
	}
	path := newPath(t)
	for _, length := range lengths {
		if length > len(content) {
			continue
		}
		require.NoError(t, os.WriteFile(path, content[:length], 0o600))
		if length < used {
			_, err := boltstore.Open(path, &boltstore.Options{Create: true})
			require.ErrorIs(t, err, boltstore.ErrDamaged, "%d bytes of %d", length, used)
			continue
		}
		require.False(t, exercise(t, path), "%d bytes are all that are used", used)
	}
}

// TestFlippedBytes: whatever bytes of a file are changed, using it ends, and not with the
// process. Most go to the pages' beginnings, where the shape of the file is.
func TestFlippedBytes(t *testing.T) {
	t.Parallel()
	content, used := sample(t)
	page := os.Getpagesize()
	rounds := campaign.Size(150, 20000)
	random := rand.New(rand.NewPCG(1, uint64(rounds)))
	noticed := 0
	path := newPath(t)
	for round := range rounds {
		damaged := bytes.Clone(content)
		var changes []string
		for range 1 + random.IntN(3) {
			at := random.IntN(used)
			if random.IntN(4) > 0 {
				at = at/page*page + random.IntN(96)
			}
			damaged[at] = [...]byte{damaged[at] ^ 1<<random.IntN(8), byte(random.IntN(8)), ^damaged[at]}[random.IntN(3)]
			changes = append(changes, fmt.Sprintf("%d to %#x", at, damaged[at]))
		}
		require.NoError(t, os.WriteFile(path, damaged, 0o600))
		if exercise(t, path) {
			noticed++
		}
		if t.Failed() {
			t.Fatalf("round %d: %v", round, changes)
		}
	}
	t.Logf("noticed %d of %d", noticed, rounds)
	require.NotZero(t, noticed)
}

// TestCutOffWhileOpen: a file that somebody cuts off while it is open is no crash, and
// closing it ends.
func TestCutOffWhileOpen(t *testing.T) {
	t.Parallel()
	content, _ := sample(t)
	for _, length := range []int64{0, int64(os.Getpagesize()), int64(2 * os.Getpagesize()), int64(8 * os.Getpagesize())} {
		path := newPath(t)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		s, err := boltstore.Open(path, &boltstore.Options{Create: true})
		require.NoError(t, err)
		require.NoError(t, os.Truncate(path, length))
		_, err = s.Get(t.Context(), sampleName(sampleItems-1))
		require.ErrorIs(t, err, boltstore.ErrDamaged)
		_, err = s.Put(t.Context(), sampleName(sampleItems-1), "", nil)
		require.ErrorIs(t, err, boltstore.ErrDamaged)
		_, err = s.Put(t.Context(), "key/new", "", nil)
		require.ErrorIs(t, err, boltstore.ErrDamaged, "nothing is written any more")
		for _, err = range s.List(t.Context(), "", sampleName(sampleItems-3)) {
		}
		require.ErrorIs(t, err, boltstore.ErrDamaged)
		require.NoError(t, s.Close())
		_, err = s.Get(t.Context(), "key/new")
		require.ErrorIs(t, err, keystore.ErrClosed)
		_, err = boltstore.Open(path, &boltstore.Options{Create: true}) // the lock is gone
		require.ErrorIs(t, err, boltstore.ErrDamaged)
	}
}

// TestSizesThatLie: bbolt would take as much memory as a page says that its neighbours
// need, and give back as many pages as it says that it has. A Put looks first, and leaves
// such a file as it was.
func TestSizesThatLie(t *testing.T) {
	t.Parallel()
	content, used := sample(t)
	page := os.Getpagesize()
	const kind, leaf, more, firstValueSize = 8, 2, 12, 16 + 12
	for at, change := range map[int]byte{more: 1, firstValueSize: 1, firstValueSize + 3: 0x20} {
		damaged, leaves := bytes.Clone(content), 0
		for p := 2 * page; p < used; p += page {
			if damaged[p+kind] == leaf && damaged[p+10] > 5 { // not a page inside a long value
				damaged[p+at] ^= change
				leaves++
			}
		}
		require.Greater(t, leaves, 10)
		path := newPath(t)
		require.NoError(t, os.WriteFile(path, damaged, 0o600))
		s, err := boltstore.Open(path, &boltstore.Options{Create: true})
		require.NoError(t, err, "leaves are not read")
		_, err = s.Put(t.Context(), sampleName(50)+"+", "", nil)
		require.ErrorIs(t, err, boltstore.ErrDamaged)
		require.NoError(t, s.Close())
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(damaged, after))
	}
}
