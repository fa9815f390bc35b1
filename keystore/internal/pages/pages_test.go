package pages_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/internal/pages"
)

// shelf has items 0000 to n-1 and notes the limits of the pages that were read.
type shelf struct {
	n      int
	limits []int
	failAt string // a page after this name fails behind its items
}

var errShelf = errors.New("the shelf fell")

func (s *shelf) read(after, last string, limit int) (page []keystore.Item, end string, err error) {
	if end = last; end == "" && s.n > 0 {
		end = fmt.Sprintf("%04d", s.n-1)
	}
	s.limits = append(s.limits, limit)
	for i := range s.n {
		if name := fmt.Sprintf("%04d", i); name > after && name <= end && len(page) < limit {
			page = append(page, keystore.Item{Name: name})
		}
	}
	if s.failAt != "" && after >= s.failAt {
		err = errShelf
	}
	return page, end, err
}

// list returns the names that List yields and its last error. It calls each in the body of the
// loop, which ends where each returns false.
func (s *shelf) list(ctx context.Context, after string, each func(name string) bool) (names []string, last error) {
	for item, err := range pages.List(ctx, after, s.read) {
		if err != nil {
			last = err
			continue
		}
		names = append(names, item.Name)
		if !each(item.Name) {
			break
		}
	}
	return names, last
}

func always(string) bool { return true }

func TestListReadsLargerAndLargerPages(t *testing.T) {
	t.Parallel()
	s := &shelf{n: 1000}
	names, err := s.list(t.Context(), "0009", always)
	require.NoError(t, err)
	require.Len(t, names, 990)
	for i, name := range names {
		require.Equal(t, fmt.Sprintf("%04d", i+10), name)
	}
	require.Equal(t, []int{16, 32, 64, 128, 256, 256, 256}, s.limits)
}

// What is added behind while the list goes on is not in it, and no page is read to find that out.
func TestListEndsThoughItGrows(t *testing.T) {
	t.Parallel()
	s := &shelf{n: 40}
	names, err := s.list(t.Context(), "", func(string) bool { s.n++; return s.n < 1000 })
	require.NoError(t, err)
	require.Len(t, names, 40)
	require.Equal(t, []int{16, 32}, s.limits)
}

func TestListOfNothing(t *testing.T) {
	t.Parallel()
	names, err := new(shelf).list(t.Context(), "", always)
	require.NoError(t, err)
	require.Empty(t, names)
}

func TestListEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	s := &shelf{n: 1000}
	names, err := s.list(t.Context(), "", func(name string) bool { return name != "0003" })
	require.NoError(t, err)
	require.Len(t, names, 4)
	require.Equal(t, []int{16}, s.limits)
}

func TestListEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	names, err := (&shelf{n: 1000}).list(ctx, "", func(name string) bool {
		if name == "0003" {
			cancel()
		}
		return true
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, names, 4)
}

// An error is yielded once, behind the items that came with it.
func TestListYieldsTheErrorLast(t *testing.T) {
	t.Parallel()
	s := &shelf{n: 1000, failAt: "0015"}
	names, err := s.list(t.Context(), "", always)
	require.ErrorIs(t, err, errShelf)
	require.Len(t, names, 16+32)
	require.Equal(t, []int{16, 32}, s.limits)
}
