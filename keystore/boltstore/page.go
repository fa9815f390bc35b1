package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// A page is what bbolt keeps in one page of the file or in several that follow each other.
// All numbers in it are in the order of the machine. It begins with 16 bytes: its number
// (8), its kind (2), how many entries it has (2) and how many pages more it takes (4).
// 16 bytes for each entry follow, and then the names and values, without a gap.
type page struct {
	pageHeader
	entries []entry // ascending by name
}

type pageHeader struct {
	id       uint64
	kind     uint16
	count    uint16
	overflow uint32
}

// An entry leads to a page, in a branch page, or has a value, in a leaf page.
type entry struct {
	name   []byte
	value  []byte
	child  uint64
	bucket bool // the value tells where a bucket is
}

const (
	headerSize = 16
	entrySize  = 16
	branchPage = 0x01
	leafPage   = 0x02
	freePage   = 0x10
)

func headerOf(b []byte) pageHeader {
	return pageHeader{
		id:       binary.NativeEndian.Uint64(b),
		kind:     binary.NativeEndian.Uint16(b[8:]),
		count:    binary.NativeEndian.Uint16(b[10:]),
		overflow: binary.NativeEndian.Uint32(b[12:]),
	}
}

func (h pageHeader) damaged() error {
	return fmt.Errorf("%w: page %d is not what it should be", ErrDamaged, h.id)
}

// parsePage reads a page that fills b. It takes what bbolt writes and nothing else: every
// size and place in the page has one value that it can have.
func parsePage(b []byte) (p page, size int, err error) {
	p.pageHeader = headerOf(b)
	branch := p.kind == branchPage
	size = headerSize + entrySize*int(p.count)
	if !branch && p.kind != leafPage || branch && p.count == 0 || size > len(b) {
		return p, 0, p.damaged()
	}
	p.entries = make([]entry, p.count)
	for i := range p.entries {
		at := headerSize + entrySize*i
		word := func(n int) uint64 { return uint64(binary.NativeEndian.Uint32(b[at+4*n:])) }
		place, nameSize, valueSize := word(0), word(1), uint64(0)
		e := &p.entries[i]
		if branch {
			e.child = binary.NativeEndian.Uint64(b[at+8:])
		} else {
			place, nameSize, valueSize = word(1), word(2), word(3)
			e.bucket = word(0) == 1
		}
		left := uint64(len(b) - size)
		if uint64(at)+place != uint64(size) || nameSize == 0 || nameSize > left || valueSize > left-nameSize {
			return p, 0, p.damaged()
		}
		e.name = b[size:][:nameSize]
		e.value = b[size:][nameSize : nameSize+valueSize]
		size += int(nameSize + valueSize)
		if i > 0 && bytes.Compare(p.entries[i-1].name, e.name) >= 0 {
			return p, 0, p.damaged()
		}
	}
	return p, size, nil
}
