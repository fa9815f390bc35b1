package kms

import (
	"context"
	"crypto/sha256"
	"hash"
	"iter"
	"strings"
)

// A digest is over the records of the keys of an instance, in the order of their IDs: two are
// equal if and only if every key is as it was.
type digest struct{ hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) add(text string, value []byte) {
	mac := macOf(value)
	d.Write(framed([]byte(text), mac[:]))
}

// instanceDigest is that of an instance as it stands.
func (m *Manager) instanceDigest(ctx context.Context, c *call, in *instance) ([]byte, error) {
	d := newDigest()
	for s, err := range m.recordsOf(ctx, c, in) {
		switch {
		case s == nil:
			return nil, err
		case err == nil:
			d.add(s.text, s.value)
		}
	}
	return d.Sum(nil), nil
}

// recordsOf yields the records of the keys of one instance, ascending by ID, whatever its
// state. What stands in the place of a record is yielded with ErrTampered; an error with
// nothing ends the loop.
func (m *Manager) recordsOf(ctx context.Context, c *call, in *instance) iter.Seq2[*scanned, error] {
	return func(yield func(*scanned, error) bool) {
		for item, err := range m.store.List(ctx, keySegment, "") {
			if err != nil {
				yield(nil, unavailable(c.op, "", "the key store", err))
				return
			}
			if named, ok := instanceNamed(item.Value); ok && named != in.id {
				continue
			}
			s := &scanned{text: strings.TrimPrefix(item.Name, keySegment), version: item.Version, value: item.Value}
			if id, ok := parseKeyID(s.text); !ok {
				err = refuseBecause(c.op, "", ErrTampered, "an item that is no key", nil)
			} else if s.record, err = m.decodeKey(ctx, c, in, id, s.text, item.Value); err != nil && !refusedAs(err, ErrTampered) {
				yield(nil, err)
				return
			}
			if !yield(s, err) {
				return
			}
		}
	}
}
