// Package reach finds the values inside a value, as a printer that uses reflection finds them:
// unexported fields, too. With it tests show that no secret is within reach. It needs nothing but
// the standard library, for a public suite imports it.
package reach

import "reflect"

// Walker visits values. It visits what is behind one pointer, or in one map, once in its life,
// so that values may hold themselves. The zero Walker is ready.
type Walker struct {
	seen map[place]bool
}

type place struct {
	at uintptr
	of reflect.Type
}

// Walk calls visit with v and with each value inside: what pointers and interfaces lead to,
// the fields of structs, the keys and values of maps, the elements of slices and arrays.
// What a function refers to is not within reach.
func (w *Walker) Walk(v any, visit func(reflect.Value)) {
	w.walk(reflect.ValueOf(v), visit)
}

func (w *Walker) walk(v reflect.Value, visit func(reflect.Value)) {
	if !v.IsValid() { // a nil interface
		return
	}
	visit(v)
	switch v.Kind() {
	case reflect.Pointer, reflect.Map:
		if v.IsNil() || w.again(v) {
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		w.walk(v.Elem(), visit)
	case reflect.Struct:
		for i := range v.NumField() {
			w.walk(v.Field(i), visit)
		}
	case reflect.Map:
		for i := v.MapRange(); i.Next(); {
			w.walk(i.Key(), visit)
			w.walk(i.Value(), visit)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			w.walk(v.Index(i), visit)
		}
	}
}

// again reports whether the Walker was at v before, and notes that it was.
func (w *Walker) again(v reflect.Value) bool {
	p := place{v.Pointer(), v.Type()}
	if w.seen[p] {
		return true
	}
	if w.seen == nil {
		w.seen = map[place]bool{}
	}
	w.seen[p] = true
	return false
}
