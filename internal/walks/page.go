package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A told is a walk as the page tells it.
type told struct {
	name  string
	stops []stop
	doors []toldDoor
}

type toldDoor struct{ name, file, why string }

// entry is the function that the walk begins with: the first that is named.
func (w told) entry() string { return w.stops[0].functions[0] }

var (
	item     = regexp.MustCompile("^\\d+\\. `([^`]+)`: (`[^`]+`(?:, `[^`]+`)*)\\.(?: |$)")
	doorItem = regexp.MustCompile("^- `([^`]+)` \\(`([^`]+)`\\): (.+)$")
)

// parse reads the section Walks of a page. Each walk there is
//
//	### GenerateDataKey
//
//	1. `envelope.go`: `Manager.GenerateDataKey`, `Manager.makeDataKey`. What happens there.
//	2. `lookup.go`: `Manager.lookup`. What happens there.
//
//	Doors:
//
//	- `Manager.load` (`lookup.go`): why the walk is left there.
//
// The lines after the first of an item are indented. What else is written is for readers alone.
func parse(page string) ([]told, error) {
	_, section, found := strings.Cut("\n"+page, "\n## Walks\n")
	if !found {
		return nil, errors.New("the page has no section Walks")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var walks []told
	for i, text := range strings.Split("\n"+section, "\n### ") {
		if i == 0 {
			continue // what introduces the section
		}
		name, text, _ := strings.Cut(text, "\n")
		w, err := parseWalk(name, text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		walks = append(walks, w)
	}
	if len(walks) == 0 {
		return nil, errors.New("the section Walks has no walk")
	}
	return walks, nil
}

func parseWalk(name, text string) (told, error) {
	w := told{name: name}
	before, doors, _ := strings.Cut(text, "\nDoors:\n")
	for _, line := range items(before) {
		found := item.FindStringSubmatch(line)
		if found == nil {
			return w, fmt.Errorf("%q is not: a number, a file, a colon, functions, a full stop", line)
		}
		functions := strings.Split(strings.Trim(found[2], "`"), "`, `")
		w.stops = append(w.stops, stop{found[1], functions})
	}
	for _, line := range items(doors) {
		found := doorItem.FindStringSubmatch(line)
		if found == nil {
			return w, fmt.Errorf("%q is not: a door, its file in parentheses, a colon, a reason", line)
		}
		w.doors = append(w.doors, toldDoor{found[1], found[2], found[3]})
	}
	if len(w.stops) == 0 {
		return w, errors.New("no file is listed")
	}
	return w, nil
}

var begins = regexp.MustCompile(`^(\d+\.|-) `)

// items returns the items of the lists in a text, each as one line.
func items(text string) (items []string) {
	open := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case begins.MatchString(line):
			items, open = append(items, line), true
		case open && strings.HasPrefix(line, " "):
			items[len(items)-1] += " " + strings.TrimSpace(line)
		default:
			open = false
		}
	}
	return items
}

// compare says what a page tells of its walks that is not so, and what it does not tell. No walk
// may have more files than most.
func (g *graph) compare(walks []told, most int) (wrong []string) {
	for _, w := range walks {
		for _, what := range g.compareWalk(w, most) {
			wrong = append(wrong, w.name+": "+what)
		}
	}
	return wrong
}

func (g *graph) compareWalk(says told, most int) (wrong []string) {
	complain := func(format string, a ...any) { wrong = append(wrong, fmt.Sprintf(format, a...)) }
	var doors []string
	for _, door := range says.doors {
		doors = append(doors, door.name)
		if f := g.byName[door.name]; f != nil && f.file != door.file {
			complain("the door %s is in %s, not in %s", door.name, f.file, door.file)
		}
	}
	is, err := g.walk(says.entry(), doors...)
	if err != nil {
		return append(wrong, err.Error())
	}
	wrong = append(wrong, is.check(doors)...)
	listed := map[string]bool{}
	for i, s := range says.stops {
		if slices.ContainsFunc(says.stops[:i], func(other stop) bool { return other.file == s.file }) {
			complain("%s is listed twice", s.file)
		}
		for _, name := range s.functions {
			switch f := g.byName[name]; {
			case listed[name]:
				complain("%s is listed twice", name)
			case f == nil:
				complain("there is no function %s", name)
			case !slices.Contains(is.functions, f):
				complain("the walk does not pass %s", name)
			case f.file != s.file:
				complain("%s is in %s, not in %s", name, f.file, s.file)
			}
			listed[name] = true
		}
	}
	for _, f := range is.functions {
		if !listed[f.name] {
			complain("the walk passes %s (%s), which is not listed", f.name, f.file)
		}
	}
	if files := len(is.stops()); files > most {
		complain("the walk passes %d files; %d are what a reader can keep in mind", files, most)
	}
	return wrong
}
