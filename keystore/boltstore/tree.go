package boltstore

import (
	"encoding/binary"
	"fmt"
	"os"

	"go.etcd.io/bbolt"
)

// A tree is a file of bbolt whose shape is looked at before bbolt follows it. Bbolt panics
// at most of what is wrong, and that can be caught; a page that leads back to itself would
// exhaust the stack of the process, which cannot.
//
// Only the pages that lead to others are read, about one in a hundred.
type tree struct {
	file     *os.File
	pageSize int64
	end      int64 // bytes that the file must have
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
	return nil
}

// walk goes down from a page, level by level. All leaves are at the same depth.
func (t tree) walk(root uint64) error {
	branches := map[uint64]bool{}
	for level := []uint64{root}; ; {
		for _, id := range level {
			if branches[id] {
				return fmt.Errorf("%w: page %d is its own ancestor", ErrDamaged, id)
			}
		}
		top, err := t.header(level[0])
		if err != nil {
			return err
		}
		if top.flags == leafPage {
			return nil
		}
		var next []uint64
		for _, id := range level {
			children, err := t.children(id)
			if err != nil {
				return err
			}
			branches[id] = true
			next = append(next, children...)
		}
		level = next
	}
}

// A page begins with 16 bytes: its number (8), its kind (2), how many entries it has (2)
// and how many pages more it takes (4). In a branch page follow entries of 16 bytes, with
// the number of a page in the last 8. All are in the order of the machine.
type pageHeader struct {
	id       uint64
	flags    uint16
	count    uint16
	overflow uint32
}

const (
	headerSize = 16
	entrySize  = 16
	branchPage = 1
	leafPage   = 2
)

func (t tree) header(id uint64) (pageHeader, error) {
	var b [headerSize]byte
	if err := t.read(b[:], id, 0); err != nil {
		return pageHeader{}, err
	}
	h := pageHeader{
		id:       binary.NativeEndian.Uint64(b[0:]),
		flags:    binary.NativeEndian.Uint16(b[8:]),
		count:    binary.NativeEndian.Uint16(b[10:]),
		overflow: binary.NativeEndian.Uint32(b[12:]),
	}
	if h.id != id || h.flags != branchPage && h.flags != leafPage {
		return h, fmt.Errorf("%w: page %d", ErrDamaged, id)
	}
	return h, nil
}

// children returns the numbers of the pages that a branch page leads to.
func (t tree) children(id uint64) ([]uint64, error) {
	h, err := t.header(id)
	if err != nil {
		return nil, err
	}
	entries := make([]byte, int(h.count)*entrySize)
	if h.flags != branchPage || h.count == 0 || int64(len(entries)) > t.pageSize*(1+int64(h.overflow))-headerSize {
		return nil, fmt.Errorf("%w: page %d", ErrDamaged, id)
	}
	if err := t.read(entries, id, headerSize); err != nil {
		return nil, err
	}
	children := make([]uint64, h.count)
	for i := range children {
		children[i] = binary.NativeEndian.Uint64(entries[i*entrySize+8:])
	}
	return children, nil
}

// read fills b from a place in a page.
func (t tree) read(b []byte, page uint64, at int64) error {
	if page > uint64(t.end/t.pageSize) {
		return fmt.Errorf("%w: page %d is past the end", ErrDamaged, page)
	}
	_, err := t.file.ReadAt(b, int64(page)*t.pageSize+at)
	return err
}
