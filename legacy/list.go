package legacy

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
)

// List is keys in memory, in the order of their IDs: what most Sources hold. It is made by
// NewList; the zero List is empty. No printer reaches the material.
type List struct {
	keys []Key
}

// NewList returns the list of some keys, which may be in any order. What Check refuses, and an ID
// that is there twice, is ErrKey.
func NewList(keys ...Key) (List, error) {
	l := List{slices.Clone(keys)}
	slices.SortStableFunc(l.keys, func(a, b Key) int { return cmp.Compare(a.ID, b.ID) })
	for i, k := range l.keys {
		if err := k.Check(); err != nil {
			return List{}, err
		}
		if i > 0 && k.ID == l.keys[i-1].ID {
			return List{}, fmt.Errorf("%w: another has the same ID", ErrKey)
		}
		l.keys[i].Versions = slices.Clone(k.Versions)
	}
	return l, nil
}

// Keys yields the keys, ascending by ID, as a Source does. It looks at ctx before each.
func (l List) Keys(ctx context.Context) iter.Seq2[Key, error] {
	return func(yield func(Key, error) bool) {
		for _, k := range l.keys {
			if err := ctx.Err(); err != nil {
				yield(Key{}, err)
				return
			}
			k.Versions = slices.Clone(k.Versions)
			if !yield(k, nil) {
				return
			}
		}
	}
}

// OpenerFunc is an Opener that is a function. What it uses no printer reaches.
type OpenerFunc func(ciphertext []byte, ec map[string]string) ([]byte, error)

// Decrypt calls the function. Of a nil OpenerFunc it is ErrUnsupported.
func (f OpenerFunc) Decrypt(ciphertext []byte, ec map[string]string) ([]byte, error) {
	if f == nil {
		return nil, ErrUnsupported
	}
	return f(ciphertext, ec)
}
