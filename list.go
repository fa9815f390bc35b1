package kms

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/keyhold/kms/keystore"
)

// ListOptions says which keys to list. A field that is empty allows all; a key is listed
// if every field allows it.
type ListOptions struct {
	After       string            // keys whose ID sorts after this one; no alias
	Instances   []string          // any of these
	Owners      []Owner           // any of these
	States      []State           // any of these
	Specs       []Spec            // any of these
	Usages      []Usage           // any of these
	Origins     []Origin          // any of these
	Protections []Protection      // any of these
	Tags        map[string]string // all of these; an empty value allows any
}

// Keys yields the keys that opts allows, ascending by ID, which is the order in which
// one process made them; those of other systems, which have IDs of any kind, among them. A nil opts allows all. To page, stop the loop and go on later
// with After. A key whose record was changed behind the service's back is yielded with
// its ID and ErrTampered, one whose instance this Manager's root does not open with ErrRoot,
// and the loop goes on; any other error ends it.
func (m *Manager) Keys(ctx context.Context, opts *ListOptions) iter.Seq2[Key, error] {
	var o ListOptions
	if opts != nil {
		o = *opts
	}
	return func(yield func(Key, error) bool) {
		var err error
		c := m.begin(OpListKeys)
		defer c.end(ctx, &err)
		if err = m.checkList(ctx, c, o); err != nil {
			yield(Key{}, err)
			return
		}
		give := func(r *record, home *instanceEntry) bool {
			k := m.describe(r, home, c.now())
			return k.State == Deleted || !o.allows(k) || yield(k, nil)
		}
		// between yields the keys of other systems that sort behind after, up to last.
		between := func(after, last string) bool {
			found, failed := m.unlisted(ctx, c, after, last)
			if err = failed; err != nil {
				yield(Key{}, err)
				return false
			}
			return !slices.ContainsFunc(found, func(r *record) bool { return !give(r, m.home.Load()) })
		}
		after := o.After
		for item, failed := range m.scan(ctx, c, o.After) {
			switch {
			case item == nil:
				err = failed
				yield(Key{}, err)
				return
			case !between(after, item.text):
				return
			case failed != nil && !yield(Key{ID: item.text}, failed), failed == nil && !give(item.record, item.home):
				return
			}
			after = item.text
		}
		between(after, "")
	}
}

// A scanned key is a key as a list of the store gave it.
type scanned struct {
	text    string // its ID
	record  *record
	home    *instanceEntry
	version keystore.Version
	value   []byte
}

// scan yields the records of all keys behind an ID, but for those whose instance was released.
// What stands in the place of a record is yielded with its error; an error with nothing ends
// the loop.
func (m *Manager) scan(ctx context.Context, c *call, after string) iter.Seq2[*scanned, error] {
	return func(yield func(*scanned, error) bool) {
		if after != "" {
			after = keyItem(after)
		}
		for item, err := range m.store.List(ctx, keySegment, after) {
			if err != nil {
				yield(nil, unavailable(c.op, "", "the key store", err))
				return
			}
			s, err := m.scanItem(ctx, c, item)
			if s == nil && err == nil {
				continue
			}
			if !yield(s, err) || s == nil {
				return
			}
		}
	}
}

// upToDate reads a key by itself that was listed and is older than one that is known: a list
// may be of before, so that it alone shows nothing.
func (m *Manager) upToDate(ctx context.Context, c *call, s *scanned) error {
	id := s.record.ID
	if s.record.Seq >= m.latestKeys.before(id).seq {
		return nil
	}
	of := *c
	e, err := m.load(ctx, &of, id)
	if err != nil {
		return err
	}
	s.record, s.version = e.record.clone(), e.version
	return nil
}

// scanItem reads the record of a key that is an item of the store: nothing where its instance was
// released, what stands in its place with an error, or an error with nothing.
func (m *Manager) scanItem(ctx context.Context, c *call, item keystore.Item) (*scanned, error) {
	s := &scanned{text: strings.TrimPrefix(item.Name, keySegment), version: item.Version, value: item.Value}
	var err error
	if s.record, err = m.readRecord(ctx, c, s.text, item.Value); err == nil {
		err = m.upToDate(ctx, c, s)
	}
	switch {
	case refusedAs(err, ErrNotFound):
		return nil, nil
	case refusedAs(err, ErrTampered), refusedAs(err, ErrRoot):
		return s, err
	case err == nil:
		s.home, err = m.instanceOf(ctx, c, s.record.in.id)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (m *Manager) checkList(ctx context.Context, c *call, o ListOptions) error {
	if _, ok := parseKeyID(o.After); !ok && o.After != "" {
		return invalid(c.op, "After is not a key ID")
	}
	return c.authorize(ctx, Request{})
}

// readRecord reads the record of the key that is listed under text. It is ErrNotFound where
// the instance of the key was released, whose key it takes to read it.
func (m *Manager) readRecord(ctx context.Context, c *call, text string, value []byte) (*record, error) {
	id, ok := parseKeyID(text)
	if !ok {
		return nil, refuseBecause(c.op, "", ErrTampered, "an item that is no key", nil)
	}
	named, ok := instanceNamed(value)
	if !ok {
		return nil, refuse(c.op, text, ErrTampered)
	}
	of := *c
	of.keyID = text
	ie, err := m.instanceOf(ctx, &of, named)
	if err != nil {
		return nil, err
	}
	if ie.in == nil {
		return nil, keyGone(c.op, text, true)
	}
	return m.decodeKey(ctx, &of, ie.in, id, text, value)
}

// decodeKey reads the record of a key of an instance, with the keys that this has by now where
// what is known of it does not fit.
func (m *Manager) decodeKey(ctx context.Context, c *call, in *instance, id keyID, text string, value []byte) (*record, error) {
	for {
		if r, err := in.decodeRecord(id, text, value); err == nil {
			return r, nil
		}
		var err error
		if in, value, err = m.again(ctx, c, in, keyItem(text), value); err != nil {
			return nil, err
		}
		if in == nil {
			return nil, refuse(c.op, text, ErrTampered)
		}
	}
}

func (o *ListOptions) allows(k Key) bool {
	for key, value := range o.Tags {
		if has, ok := k.Tags[key]; !ok || value != "" && has != value {
			return false
		}
	}
	return anyOf(o.Instances, k.Instance) && anyOf(o.Owners, k.Owner) && anyOf(o.States, k.State) && anyOf(o.Specs, k.Spec) && anyOf(o.Usages, k.Usage) &&
		anyOf(o.Origins, k.Origin) && anyOf(o.Protections, k.Protection)
}

func anyOf[T comparable](allowed []T, v T) bool {
	return len(allowed) == 0 || slices.Contains(allowed, v)
}
