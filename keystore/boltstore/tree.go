package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/bbolt"

	"github.com/keyhold/kms/keystore"
)

// A tree is a file of bbolt whose shape is looked at before bbolt follows it. Bbolt panics
// at most of what is wrong, and that can be caught. A page that leads back to itself would
// exhaust the stack of the process, and a size that is absurd its memory: neither can be
// caught. A page that is taken for free would be written over.
type tree struct {
	file     *os.File
	pageSize int64
	end      int64           // bytes that the file must have
	pages    map[uint64]page // those that were read
}

// treeOf returns the tree as it is when a transaction begins.
func treeOf(tx *bbolt.Tx, file *os.File) tree {
	return tree{file: file, pageSize: int64(tx.DB().Info().PageSize), end: tx.Size(), pages: map[uint64]page{}}
}

// check is for a file that is opened. It also tells whether the file is one of this
// package. Only the pages that lead to others are read, about one in a hundred. What is
// wrong inside the others is found when they are used, if at all: bbolt has no checksums
// over them.
func (t tree) check(tx *bbolt.Tx) error {
	info, err := t.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < t.end {
		return fmt.Errorf("%w: it has %d bytes of %d", ErrDamaged, info.Size(), t.end)
	}
	used := map[uint64]bool{}
	if err := t.walk(uint64(tx.Cursor().Bucket().Root()), used); err != nil {
		return err
	}
	if err := recognize(tx); err != nil {
		return err
	}
	for _, name := range [][]byte{aboutBucket, itemsBucket} {
		b := tx.Bucket(name)
		if b == nil || b.Root() == 0 { // a small one is inside the page of its parent
			continue
		}
		if err := t.walk(uint64(b.Root()), used); err != nil {
			return err
		}
	}
	return t.checkFree(uint64(tx.ID()), used)
}

// walk goes down from a page, level by level, and reaches no page twice. All leaves are at
// the same depth.
func (t tree) walk(root uint64, used map[uint64]bool) error {
	for level := []uint64{root}; ; {
		for _, id := range level {
			if used[id] || id >= t.count() {
				return fmt.Errorf("%w: nothing should lead to page %d", ErrDamaged, id)
			}
			used[id] = true
		}
		switch h, err := t.header(level[0]); {
		case err != nil:
			return err
		case h.kind == leafPage:
			return nil
		}
		var next []uint64
		for _, id := range level {
			p, err := t.page(id)
			if err != nil {
				return err
			}
			if p.kind != branchPage {
				return p.damaged()
			}
			for _, e := range p.entries {
				next = append(next, e.child)
			}
		}
		level = next
	}
}

// checkFree looks at the list of free pages: numbers of 8 bytes, ascending, after the
// header. The first two pages are about the file, and the last transaction wrote the one
// of its parity. After 48 bytes it has the number of the page where the list begins.
func (t tree) checkFree(transaction uint64, used map[uint64]bool) error {
	about, err := t.numbers(transaction%2, 4, 1)
	if err != nil {
		return err
	}
	h, err := t.header(about[0])
	if err != nil {
		return err
	}
	skip, count := uint64(0), uint64(h.count)
	if count == 0xffff { // the first number is how many follow
		first, err := t.numbers(h.id, 0, 1)
		if err != nil {
			return err
		}
		skip, count = 1, first[0]
	}
	// The list was given pages before it was known how many those would take out of it.
	taken := uint64(h.overflow) + 1
	if h.kind != freePage || used[h.id] || count > t.count() || taken > t.count() ||
		uint64(h.overflow) > (headerSize+8*(count+skip+taken))/uint64(t.pageSize) {
		return h.damaged()
	}
	free, err := t.numbers(h.id, skip, count)
	if err != nil {
		return err
	}
	for i := range taken {
		used[h.id+i] = true
	}
	last := uint64(1)
	for _, id := range free {
		if id <= last || id >= t.count() || used[id] {
			return fmt.Errorf("%w: page %d cannot be free", ErrDamaged, id)
		}
		last = id
	}
	return nil
}

// largestPage is more than the few items that bbolt does not part can take.
const largestPage = 16 * keystore.MaxValue

// count is how many pages there are.
func (t tree) count() uint64 { return uint64(t.end / t.pageSize) }

// page returns a page that has entries.
func (t tree) page(id uint64) (page, error) {
	if p, ok := t.pages[id]; ok {
		return p, nil
	}
	h, err := t.header(id)
	if err != nil {
		return page{}, err
	}
	more := uint64(h.overflow)
	if h.kind != branchPage && h.kind != leafPage || more >= t.count() || int64(more)*t.pageSize > largestPage {
		return page{}, h.damaged()
	}
	b := make([]byte, (1+int64(more))*t.pageSize)
	if err := t.read(b, id, 0); err != nil {
		return page{}, err
	}
	p, size, err := parsePage(b)
	if err == nil && int64(size) <= int64(more)*t.pageSize {
		err = h.damaged() // it would give back a page that is another's
	}
	t.pages[id] = p
	return p, err
}

func (t tree) header(id uint64) (pageHeader, error) {
	var b [headerSize]byte
	if err := t.read(b[:], id, 0); err != nil {
		return pageHeader{}, err
	}
	h := headerOf(b[:])
	if h.id != id {
		return h, fmt.Errorf("%w: page %d is not what it should be", ErrDamaged, id)
	}
	return h, nil
}

// numbers returns some of those that follow the header of a page.
func (t tree) numbers(id, skip, count uint64) ([]uint64, error) {
	b := make([]byte, 8*count)
	if err := t.read(b, id, headerSize+8*int64(skip)); err != nil {
		return nil, err
	}
	numbers := make([]uint64, count)
	for i := range numbers {
		numbers[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return numbers, nil
}

// read fills b from a place in a page.
func (t tree) read(b []byte, id uint64, at int64) error {
	if id >= t.count() || int64(id)*t.pageSize+at+int64(len(b)) > t.end {
		return fmt.Errorf("%w: page %d is past the end", ErrDamaged, id)
	}
	_, err := t.file.ReadAt(b, int64(id)*t.pageSize+at)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: page %d is past the end", ErrDamaged, id)
	}
	return err
}
