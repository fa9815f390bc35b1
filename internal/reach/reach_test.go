package reach_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/reach"
)

// texts returns the strings that a Walker finds in v, sorted.
func texts(w *reach.Walker, v any) []string {
	found := []string{}
	w.Walk(v, func(v reflect.Value) {
		if v.Kind() == reflect.String {
			found = append(found, v.String())
		}
	})
	slices.Sort(found)
	return found
}

func TestWalkFindsWhatReflectionFinds(t *testing.T) {
	t.Parallel()
	text := "e"
	type inner struct{ hidden any }
	v := struct {
		A  string
		b  []inner
		c  map[string]*string
		d  [1]any
		no func() string
	}{"a", []inner{{"b"}, {nil}, {[]string{"c"}}}, map[string]*string{"d": &text, "f": nil}, [1]any{inner{"g"}}, func() string { return "no" }}
	require.Equal(t, []string{"a", "b", "c", "d", "e", "f", "g"}, texts(new(reach.Walker), v))
	require.Equal(t, []string{"a", "b", "c", "d", "e", "f", "g"}, texts(new(reach.Walker), &v))
	require.Empty(t, texts(new(reach.Walker), nil))
}

// A value that holds itself has an end, and a second walk does not go where the first went.
func TestWalkGoesNowhereTwice(t *testing.T) {
	t.Parallel()
	type ring struct {
		name string
		next *ring
		all  map[string]any
	}
	r := &ring{name: "one", all: map[string]any{}}
	r.next = &ring{name: "two", next: r}
	r.all["map"] = r.all
	w := new(reach.Walker)
	require.Equal(t, []string{"map", "one", "two"}, texts(w, r))
	require.Empty(t, texts(w, r))
	require.Equal(t, []string{"three"}, texts(w, ring{name: "three", next: r.next}))
}
