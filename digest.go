package kms

import (
	"context"
	"crypto/sha256"
	"hash"
)

// A digest is over the records of the keys of an instance, in the order of their IDs: two are
// equal if and only if every key is as it was.
type digest struct{ hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) add(s *scanned) {
	mac := macOf(s.value)
	d.Write(framed([]byte(s.text), mac[:]))
}

// instanceDigest is that of an instance as it stands.
func (m *Manager) instanceDigest(ctx context.Context, c *call, id string) ([]byte, error) {
	d := newDigest()
	for item, err := range m.scan(ctx, c, "") {
		switch {
		case item == nil:
			return nil, err
		case err == nil && item.record.in.id == id:
			d.add(item)
		}
	}
	return d.Sum(nil), nil
}
