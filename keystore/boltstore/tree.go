package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/bbolt"
)

// A tree is a file of bbolt whose shape is looked at before bbolt follows it. Bbolt panics
// at most of what is wrong, and that can be caught. A page that leads back to itself would
// exhaust the stack of the process, and a list of free pages that is absurdly long its
// memory: neither can be caught. A free page that is in use would be written over.
//
// Only the pages that lead to others are read, about one in a hundred. Damage inside the
// other pages is found when they are read, if at all: bbolt has no checksums over them.
type tree struct {
	file     *os.File
	pageSize int64
	end      int64           // bytes that the file must have
	used     map[uint64]bool // the pages that were reached
}

// check also tells whether the file is one of this package.
func (t tree) check(tx *bbolt.Tx) error {
	info, err := t.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < t.end {
		return fmt.Errorf("%w: it has %d bytes of %d", ErrDamaged, info.Size(), t.end)
	}
	if err := t.walk(uint64(tx.Cursor().Bucket().Root())); err != nil {
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
		if err := t.walk(uint64(b.Root())); err != nil {
			return err
		}
	}
	return t.checkFree(uint64(tx.ID()))
}

// walk goes down from a page, level by level, and reaches no page twice. All leaves are at
// the same depth.
func (t tree) walk(root uint64) error {
	for level := []uint64{root}; ; {
		for _, id := range level {
			if t.used[id] {
				return fmt.Errorf("%w: two ways lead to page %d", ErrDamaged, id)
			}
			t.used[id] = true
		}
		top, err := t.header(level[0])
		if err != nil {
			return err
		}
		if top.kind == leafPage {
			return nil
		}
		var next []uint64
		for _, id := range level {
			h, err := t.header(id)
			if err != nil {
				return err
			}
			if h.kind != branchPage || h.count == 0 {
				return fmt.Errorf("%w: page %d leads nowhere", ErrDamaged, id)
			}
			entries, err := t.numbers(h, 0, 2*uint64(h.count))
			if err != nil {
				return err
			}
			for i := 1; i < len(entries); i += 2 {
				next = append(next, entries[i])
			}
		}
		level = next
	}
}

// checkFree looks at the list of free pages. The first two pages are about the file, and
// the last transaction wrote the one of its parity. After 48 bytes it has the number of the
// page where the list begins.
func (t tree) checkFree(transaction uint64) error {
	about, err := t.numbers(pageHeader{id: transaction % 2}, 4, 1)
	if err != nil {
		return err
	}
	h, err := t.header(about[0])
	if err != nil {
		return err
	}
	skip, count := uint64(0), uint64(h.count)
	if count == 0xffff { // the first number is how many follow
		first, err := t.numbers(h, 0, 1)
		if err != nil {
			return err
		}
		skip, count = 1, first[0]
	}
	free, err := t.numbers(h, skip, count)
	if h.kind != freePage || err != nil {
		return errors.Join(fmt.Errorf("%w: page %d is no list of free pages", ErrDamaged, h.id), err)
	}
	t.used[h.id] = true
	last := uint64(1)
	for _, id := range free {
		if id <= last || id >= uint64(t.end/t.pageSize) || t.used[id] {
			return fmt.Errorf("%w: page %d cannot be free", ErrDamaged, id)
		}
		last = id
	}
	return nil
}

// A page begins with 16 bytes: its number (8), its kind (2), how many entries it has (2)
// and how many pages more it takes (4). In a branch page follow entries of 16 bytes, with
// the number of a page in the last 8; in the list of free pages, numbers of 8. All are in
// the order of the machine.
type pageHeader struct {
	id       uint64
	kind     uint16
	count    uint16
	overflow uint32
}

const (
	headerSize = 16
	branchPage = 0x01
	leafPage   = 0x02
	freePage   = 0x10
)

func (t tree) header(id uint64) (pageHeader, error) {
	var b [headerSize]byte
	if err := t.read(b[:], id, 0); err != nil {
		return pageHeader{}, err
	}
	h := pageHeader{
		id:       binary.NativeEndian.Uint64(b[0:]),
		kind:     binary.NativeEndian.Uint16(b[8:]),
		count:    binary.NativeEndian.Uint16(b[10:]),
		overflow: binary.NativeEndian.Uint32(b[12:]),
	}
	if h.id != id || h.kind != branchPage && h.kind != leafPage && h.kind != freePage {
		return h, fmt.Errorf("%w: page %d is not what it should be", ErrDamaged, id)
	}
	return h, nil
}

// numbers returns some of those that follow the header of a page, and fit into it.
func (t tree) numbers(h pageHeader, skip, count uint64) ([]uint64, error) {
	room := uint64(t.pageSize*(1+int64(h.overflow))-headerSize) / 8
	if room > uint64(t.end)/8 || skip+count > room || count > room {
		return nil, fmt.Errorf("%w: page %d has %d entries", ErrDamaged, h.id, h.count)
	}
	b := make([]byte, 8*count)
	if err := t.read(b, h.id, headerSize+8*int64(skip)); err != nil {
		return nil, err
	}
	numbers := make([]uint64, count)
	for i := range numbers {
		numbers[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return numbers, nil
}

// read fills b from a place in a page.
func (t tree) read(b []byte, page uint64, at int64) error {
	if page >= uint64(t.end/t.pageSize) {
		return fmt.Errorf("%w: page %d is past the end", ErrDamaged, page)
	}
	_, err := t.file.ReadAt(b, int64(page)*t.pageSize+at)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: page %d is past the end", ErrDamaged, page)
	}
	return err
}
