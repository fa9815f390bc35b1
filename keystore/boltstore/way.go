package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"
)

// deepest is more levels than a file that fits on a disk can have.
const deepest = 64

// checkWays looks at all pages that a commit of a group will rewrite: those on the way from
// the root to each name. Bbolt believes what they say of their sizes, takes as much memory
// and gives back as many pages.
func checkWays(tx *bbolt.Tx, t tree, group []*put) error {
	about, err := t.leafFor(uint64(tx.Cursor().Bucket().Root()), itemsBucket)
	if err != nil {
		return err
	}
	root, inside, err := about.bucket(itemsBucket)
	if err != nil || inside {
		return err
	}
	for _, p := range group {
		if _, err := t.leafFor(root, []byte(p.name)); err != nil {
			return err
		}
	}
	return nil
}

// leafFor goes down from a page to the leaf where a name is or would be.
func (t tree) leafFor(root uint64, name []byte) (page, error) {
	id := root
	for range deepest {
		p, err := t.page(id)
		if err != nil || p.kind == leafPage {
			return p, err
		}
		id = p.entries[0].child
		for _, e := range p.entries[1:] {
			if bytes.Compare(e.name, name) > 0 {
				break
			}
			id = e.child
		}
	}
	return page{}, fmt.Errorf("%w: page %d has no end", ErrDamaged, root)
}

// bucket returns the page where a bucket begins. A small one is inside the value of its
// entry, and then it is whole. The value begins with the number of the page (8), which is
// 0 for a small one, and the sequence (8).
func (p page) bucket(name []byte) (root uint64, inside bool, err error) {
	for _, e := range p.entries {
		if !bytes.Equal(e.name, name) {
			continue
		}
		if !e.bucket || len(e.value) < 16 {
			return 0, false, p.damaged()
		}
		if root = binary.NativeEndian.Uint64(e.value); root != 0 {
			return root, false, nil
		}
		if len(e.value) < 16+headerSize {
			return 0, true, p.damaged()
		}
		small, size, err := parsePage(e.value[16:])
		if err == nil && (small.kind != leafPage || size != len(e.value)-16) {
			err = p.damaged()
		}
		return 0, true, err
	}
	return 0, false, p.damaged()
}
