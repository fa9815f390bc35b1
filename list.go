package kms

import (
	"context"
	"iter"
	"slices"
	"strings"
)

// ListOptions says which keys to list. A field that is empty allows all; a key is listed
// if every field allows it.
type ListOptions struct {
	After       string            // keys whose ID sorts after this one; no alias
	States      []State           // any of these
	Specs       []Spec            // any of these
	Usages      []Usage           // any of these
	Origins     []Origin          // any of these
	Protections []Protection      // any of these
	Tags        map[string]string // all of these; an empty value allows any
}

// Keys yields the keys that opts allows, ascending by ID, which is the order in which
// one process made them. A nil opts allows all. To page, stop the loop and go on later
// with After. A key whose record was changed behind the service's back is yielded with
// its ID and ErrTampered, and the loop goes on; any other error ends it.
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
		after := ""
		if o.After != "" {
			after = keyItem(o.After)
		}
		for item, failed := range m.store.List(ctx, keySegment, after) {
			if failed != nil {
				err = unavailable(c.op, "", "the key store", failed)
				yield(Key{}, err)
				return
			}
			text := strings.TrimPrefix(item.Name, keySegment)
			r, failed := m.readRecord(c, text, item.Value)
			if failed != nil {
				if !yield(Key{ID: text}, failed) {
					return
				}
				continue
			}
			if k := m.describe(r, c.now); k.State != Deleted && o.allows(k) && !yield(k, nil) {
				return
			}
		}
	}
}

func (m *Manager) checkList(ctx context.Context, c *call, o ListOptions) error {
	if _, ok := parseKeyID(o.After); !ok && o.After != "" {
		return invalid(c.op, "After is not a key ID")
	}
	return c.authorize(ctx, Request{})
}

// readRecord reads the record of the key that is listed under text.
func (m *Manager) readRecord(c *call, text string, value []byte) (*record, error) {
	id, ok := parseKeyID(text)
	if !ok {
		return nil, refuseBecause(c.op, "", ErrTampered, "an item that is no key", nil)
	}
	r, err := m.instance.decodeRecord(id, text, value)
	if err != nil {
		return nil, refuse(c.op, text, ErrTampered)
	}
	return r, nil
}

func (o *ListOptions) allows(k Key) bool {
	for key, value := range o.Tags {
		if has, ok := k.Tags[key]; !ok || value != "" && has != value {
			return false
		}
	}
	return anyOf(o.States, k.State) && anyOf(o.Specs, k.Spec) && anyOf(o.Usages, k.Usage) &&
		anyOf(o.Origins, k.Origin) && anyOf(o.Protections, k.Protection)
}

func anyOf[T comparable](allowed []T, v T) bool {
	return len(allowed) == 0 || slices.Contains(allowed, v)
}
