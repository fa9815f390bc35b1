package main

import (
	"fmt"
	"slices"
)

// A walk is what a call passes on its way to the key store, the provider or the root: the entry,
// and what is called from there and reaches outside, up to the doors.
type walk struct {
	entry     *function
	functions []*function // in the order in which a reader meets them
	doors     []*function // those at which it is left, of the ones that were named
}

// walk returns the walk from an entry to the doors. Whether a door is needed, check tells.
func (g *graph) walk(entry string, doors ...string) (walk, error) {
	first := g.byName[entry]
	if first == nil {
		return walk{}, fmt.Errorf("there is no function %s", entry)
	}
	if !first.reaches {
		return walk{}, fmt.Errorf("%s reaches nothing outside, and so begins no walk", entry)
	}
	for _, door := range doors {
		switch f := g.byName[door]; {
		case f == nil:
			return walk{}, fmt.Errorf("there is no function %s, which is to be a door", door)
		case f == first:
			return walk{}, fmt.Errorf("%s is the entry, and cannot be a door", door)
		}
	}
	w := walk{entry: first}
	var enter func(*function)
	enter = func(f *function) {
		w.functions = append(w.functions, f)
		for _, next := range f.calls {
			switch {
			case slices.Contains(doors, next.name):
				if !slices.Contains(w.doors, next) {
					w.doors = append(w.doors, next)
				}
			case next.reaches && !slices.Contains(w.functions, next):
				enter(next)
			}
		}
	}
	enter(first)
	return w, nil
}

// check says what is wrong with the doors that were named for a walk.
func (w walk) check(doors []string) (wrong []string) {
	for _, door := range doors {
		i := slices.IndexFunc(w.doors, func(f *function) bool { return f.name == door })
		switch {
		case i < 0:
			wrong = append(wrong, fmt.Sprintf("the door %s is not called from the walk", door))
		case !w.doors[i].reaches:
			wrong = append(wrong, fmt.Sprintf("%s reaches nothing outside, and needs no door", door))
		}
	}
	return wrong
}

// A stop is a file of a walk, with the functions that the walk has there.
type stop struct {
	file      string
	functions []string
}

// stops are the files of a walk, in the order in which it comes to them.
func (w walk) stops() (stops []stop) {
	for _, f := range w.functions {
		i := slices.IndexFunc(stops, func(s stop) bool { return s.file == f.file })
		if i < 0 {
			i = len(stops)
			stops = append(stops, stop{file: f.file})
		}
		stops[i].functions = append(stops[i].functions, f.name)
	}
	return stops
}

// A candidate is a function of a walk that could be a door, with what would be left of the walk.
type candidate struct {
	*function
	functions, files int
}

// candidates are what could be doors of a walk besides those it has, the most useful first. What
// would leave as many files and hide hardly more than itself is not worth one.
func (g *graph) candidates(w walk) []candidate {
	var doors []string
	for _, door := range w.doors {
		doors = append(doors, door.name)
	}
	files := len(w.stops())
	var found []candidate
	for _, f := range w.functions[1:] {
		rest, err := g.walk(w.entry.name, append(doors[:len(doors):len(doors)], f.name)...)
		if err != nil {
			continue
		}
		if left := len(rest.stops()); left < files || len(rest.functions) < len(w.functions)-2 {
			found = append(found, candidate{f, len(rest.functions), left})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int {
		if a.files != b.files {
			return a.files - b.files
		}
		return a.functions - b.functions
	})
	return found
}
