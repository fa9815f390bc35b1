package kms

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/keystore"
)

// A hardware key encrypts so often and no more (MaxHSMUses), wherever it is restored to: a
// backup brings along how often it did. Two key stores that go on from there exceed that by
// what one may do, at most.

// writeCounts writes the counts of the keys of the instance.
func (b *backupWriter) writeCounts(ctx context.Context) error {
	for item, err := range b.m.store.List(ctx, allowanceSegment, "") {
		if err != nil {
			return unavailable(b.c.op, "", "the key store", err)
		}
		text := strings.TrimPrefix(item.Name, allowanceSegment)
		key, err := b.m.store.Get(ctx, keyItem(text))
		switch {
		case errors.Is(err, keystore.ErrNotFound):
			continue
		case err != nil:
			return unavailable(b.c.op, "", "the key store", err)
		}
		if named, ok := instanceNamed(key.Value); !ok || named != b.in.id {
			continue
		}
		count := new(allowanceRecord)
		switch err := b.m.readHome(ctx, b.c, item.Name, item.Value, count, errRecord); {
		case errors.Is(err, errRecord), err == nil && count.Key.String() != text:
			b.info.Tampered++
			continue
		case err != nil:
			return err
		}
		body, err := json.Marshal(count)
		if err != nil {
			return errors.NewAssertionErrorWithWrappedErrf(err, "kms: the count of a key")
		}
		if err := b.item(backupCount, body, nil); err != nil {
			return err
		}
	}
	return nil
}

// count reads the count of a key.
func (b *backupReader) count(body []byte) (*allowanceRecord, error) {
	count := new(allowanceRecord)
	if strictly(body, count) != nil || count.Key == (keyID{}) || count.Versions == nil {
		return nil, b.bad("the count of a key")
	}
	return count, nil
}

// restoreCount sees that no version of a key is counted lower than in the backup. It comes
// before the key does.
func (rs *restoring) restoreCount(ctx context.Context, was *allowanceRecord) error {
	m, c := rs.m, rs.c
	name := allowanceSegment + was.Key.String()
	for {
		rec, version, err := m.loadAllowance(ctx, c, name, was.Key)
		if err != nil {
			if refusedAs(err, ErrTampered) {
				return nil // the key encrypts nothing here
			}
			return err
		}
		higher := false
		for v, n := range was.Versions {
			if n > rec.Versions[v] {
				rec.Versions[v], higher = n, true
			}
		}
		if !higher {
			return nil
		}
		rec.Seq++
		in := m.home.Load().in
		value, err := in.encodeItem(name, rec)
		if err != nil {
			return errors.NewAssertionErrorWithWrappedErrf(err, "kms: the count of a key")
		}
		_, err = m.putHome(ctx, c, in, name, version, value)
		if err = written(c.op, was.Key.String(), err); !errors.Is(err, errStale) {
			return err
		}
		if ctx.Err() != nil {
			return unavailable(c.op, "", "", context.Cause(ctx))
		}
	}
}
