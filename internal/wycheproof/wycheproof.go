// Package wycheproof reads the vectors of Project Wycheproof (github.com/C2SP/wycheproof) for
// the tests of this module, and counts what became of them. Only tests import it.
//
// A Tally judges strictly: what is valid must be accepted, what is invalid refused. Where
// something else is right, or a vector leaves the choice, a row with a reason says so, and a
// row that says nothing new fails. A Tally of no valid vector fails.
package wycheproof

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	vectors "github.com/c2sp/wycheproof"
)

// Hex is bytes that stand in hex in a vector.
type Hex []byte

// UnmarshalText decodes hex.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// Vector is what all vectors have. The types of single kinds embed it.
type Vector struct {
	ID      int      `json:"tcId"`
	Comment string   `json:"comment"`
	Flags   []string `json:"flags"`
	Result  string   `json:"result"` // valid, invalid or acceptable
}

// Groups returns the groups of vectors of a file, named without its "_test.json".
func Groups[G any](t testing.TB, file string) []G {
	t.Helper()
	b, err := fs.ReadFile(vectors.TestVectors, file+"_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Groups []G `json:"testGroups"`
	}
	if err := json.Unmarshal(b, &parsed); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(parsed.Groups) == 0 {
		t.Fatalf("%s has no vectors", file)
	}
	return parsed.Groups
}

// Exception is a vector that is not judged by its result, and why: by its number, or with all
// others of its flag.
type Exception struct {
	ID       int
	Flag     string
	Accepted bool
	Why      string
}

func (e Exception) covers(v Vector) bool {
	return e.ID == v.ID && e.ID != 0 || e.Flag != "" && slices.Contains(v.Flags, e.Flag)
}

// Tally counts the vectors of one file that one implementation ran. Its methods may be called
// by many goroutines.
type Tally struct {
	t          testing.TB
	what       string
	exceptions []Exception

	mu            sync.Mutex
	valid, refuse int
	excepted      []int // by exception
	left          map[string]int
}

// NewTally begins to count. When the test is over it reports, and fails where there is
// nothing to report.
func NewTally(t testing.TB, what string, exceptions ...Exception) *Tally {
	c := &Tally{t: t, what: what, exceptions: exceptions, excepted: make([]int, len(exceptions)), left: map[string]int{}}
	t.Cleanup(c.report)
	return c
}

// Check judges what an implementation made of a vector.
func (c *Tally) Check(v Vector, accepted bool) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	want := v.Result == "valid"
	i := slices.IndexFunc(c.exceptions, func(e Exception) bool { return e.covers(v) })
	switch {
	case i >= 0:
		if c.exceptions[i].Accepted == want && v.Result != "acceptable" {
			c.t.Errorf("%s: vector %d is no exception", c.what, v.ID)
		}
		c.excepted[i]++
		want = c.exceptions[i].Accepted
	case v.Result == "valid":
		c.valid++
	case v.Result == "invalid":
		c.refuse++
	default:
		c.t.Errorf("%s: vector %d (%s, %s) is %s: decide, with an Exception", c.what, v.ID, v.Comment, v.Flags, v.Result)
	}
	if accepted != want {
		c.t.Errorf("%s: vector %d (%s, %s) is %s; accepted: %v", c.what, v.ID, v.Comment, v.Flags, v.Result, accepted)
	}
}

// Leave counts n vectors that are not for this implementation, and why.
func (c *Tally) Leave(why string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[why] += n
}

func (c *Tally) report() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d accepted, %d refused, as they should", c.what, c.valid, c.refuse)
	for i, e := range c.exceptions {
		if c.excepted[i] == 0 {
			c.t.Errorf("%s: no vector is excepted by %+v", c.what, e)
		}
		fmt.Fprintf(&b, "; %d with accepted=%v: %s", c.excepted[i], e.Accepted, e.Why)
	}
	for _, why := range slices.Sorted(maps.Keys(c.left)) {
		fmt.Fprintf(&b, "; %d not run: %s", c.left[why], why)
	}
	c.t.Log(b.String())
	if c.valid == 0 {
		c.t.Errorf("%s: no valid vector was run", c.what)
	}
}
