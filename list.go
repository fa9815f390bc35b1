package kms

import (
	"context"
	"iter"
	"slices"

	"github.com/keyhold/kms/internal/keyid"
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
//
// The loop yields every key that there was when it began, and none that sorts behind the last of
// those: so it ends though its body creates keys. Aliases, Instances and Tombstones end likewise.
func (m *Manager) Keys(ctx context.Context, opts *ListOptions) iter.Seq2[Key, error] {
	var o ListOptions
	if opts != nil {
		o = *opts
	}
	return func(yield func(Key, error) bool) {
		var err error
		yield = endedIn(ctx, yield)
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
		// between yields the keys of other systems that sort behind after and before last.
		between := func(after, last string) bool {
			found, failed := m.unlisted(ctx, c, after, last)
			if err = failed; err != nil {
				yield(Key{}, err)
				return false
			}
			return !slices.ContainsFunc(found, func(s *scanned) bool { return !give(s.record, s.home) })
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

func (m *Manager) checkList(ctx context.Context, c *call, o ListOptions) error {
	if _, ok := keyid.Parse(o.After); !ok && o.After != "" {
		return invalid(c.op, "ListOptions.After is not a key ID")
	}
	return c.authorize(ctx, Request{})
}

func (o *ListOptions) allows(k Key) bool {
	for key, value := range o.Tags {
		if has, ok := k.Tags[key]; !ok || (value != "" && has != value) {
			return false
		}
	}
	return anyOf(o.Instances, k.Instance) && anyOf(o.Owners, k.Owner) && anyOf(o.States, k.State) && anyOf(o.Specs, k.Spec) && anyOf(o.Usages, k.Usage) &&
		anyOf(o.Origins, k.Origin) && anyOf(o.Protections, k.Protection)
}

func anyOf[T comparable](allowed []T, v T) bool {
	return len(allowed) == 0 || slices.Contains(allowed, v)
}
