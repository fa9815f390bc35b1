package kms

import "context"

// writeKeys writes the keys, and returns the IDs of those that can have an alias, ascending.
func (b *backupWriter) writeKeys(ctx context.Context) (alive []keyID, err error) {
	for s, err := range b.m.recordsOf(ctx, b.c, b.in) {
		switch {
		case s == nil:
			return nil, err
		case err != nil:
			b.info.Tampered++
			continue
		}
		value, err := b.value(s)
		if err != nil {
			return nil, err
		}
		if err := b.item(backupKey, []byte(s.text), value); err != nil {
			return nil, err
		}
		b.sum.add(s.text, value)
		b.info.count(s.record)
		if s.record.facts().state(b.c.now()) != Deleted {
			alive = append(alive, s.record.ID)
		}
		if b.info.Keys%1000 == 0 {
			b.progress(b.info.Keys)
		}
	}
	return alive, nil
}

// value is the record of a key as it stands, or while the instance is shredded as it would
// under the instance key that is in this backup.
func (b *backupWriter) value(s *scanned) ([]byte, error) {
	name := keyItem(s.text)
	if _, ok := b.in.wrote(name, s.value); ok {
		return s.value, nil
	}
	r, err := s.record.moveTo(b.in)
	if err != nil {
		return nil, err
	}
	return b.in.encodeItem(name, r)
}
