package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// An event is what go test says of a test, or with no Test of a package: see go doc test2json.
type event struct {
	Time       time.Time
	Action     string
	Package    string
	ImportPath string // of what was built
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

type testName struct{ pkg, test string }

// A log shows events.
type log struct {
	out     io.Writer
	said    map[testName]*strings.Builder // what tests printed, until they end
	begun   map[testName]time.Time        // top-level tests that run
	passed  int
	skipped int
	failed  []testName
	broken  bool // something was not built, or a package failed without a test that did
}

func newLog(out io.Writer) *log {
	return &log{out: out, said: map[testName]*strings.Builder{}, begun: map[testName]time.Time{}}
}

func (l *log) event(e event) {
	name := testName{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(l.out, e.Output)
	case "build-fail":
		l.broken = true
	case "output":
		l.output(name, e.Output)
	case "pause": // a parallel test that waits for its turn
		delete(l.begun, name)
	case "run", "cont":
		if !strings.Contains(e.Test, "/") {
			l.begun[name] = e.Time
		}
	case "pass", "skip", "fail":
		l.ended(name, e)
	}
}

// noise are the ends of package-level lines that say nothing.
var noise = []string{"PASS\n", "FAIL\n", "testing: warning: no tests to run\n", "[no tests to run]\n", "[no test files]\n"}

// output keeps what a test prints until it is known whether it failed. What a package prints, its
// last line among it, is shown at once.
func (l *log) output(name testName, text string) {
	if name.test == "" {
		if !slices.ContainsFunc(noise, func(s string) bool { return strings.HasSuffix(text, s) }) {
			fmt.Fprint(l.out, text)
		}
		return
	}
	if l.said[name] == nil {
		l.said[name] = &strings.Builder{}
	}
	l.said[name].WriteString(text)
}

func (l *log) ended(name testName, e event) {
	said := l.said[name]
	delete(l.said, name)
	delete(l.begun, name)
	switch {
	case name.test == "" && e.Action == "fail":
		l.broken = l.broken || !slices.ContainsFunc(l.failed, func(f testName) bool { return f.pkg == name.pkg })
		l.unfinished(name.pkg)
	case name.test == "":
	case e.Action == "fail":
		l.failed = append(l.failed, name)
		if said != nil {
			fmt.Fprint(l.out, said)
		}
	case strings.Contains(name.test, "/"):
	case e.Action == "skip":
		l.skipped++
	default:
		l.passed++
		if took := time.Duration(e.Elapsed * float64(time.Second)); took >= long {
			fmt.Fprintf(l.out, "    %6.1fs  %s %s\n", e.Elapsed, short(name.pkg), name.test)
		}
	}
}

// unfinished shows what tests of a package printed that never ended, for it panicked or was stopped.
func (l *log) unfinished(pkg string) {
	for name, said := range l.said {
		if name.pkg == pkg {
			fmt.Fprint(l.out, said)
			delete(l.said, name)
		}
	}
	for name := range l.begun {
		if name.pkg == pkg {
			delete(l.begun, name)
		}
	}
}

// running says what runs for long by now.
func (l *log) running(now time.Time) {
	var lines []string
	for name, since := range l.begun {
		if d := now.Sub(since); d >= long {
			lines = append(lines, fmt.Sprintf("    %6.0fs… %s %s\n", d.Seconds(), short(name.pkg), name.test))
		}
	}
	slices.Sort(lines)
	fmt.Fprint(l.out, strings.Join(lines, ""))
}

// end says what failed, and returns the exit code.
func (l *log) end() int {
	for _, name := range l.failed {
		fmt.Fprintf(l.out, "FAILED  %s %s\n", short(name.pkg), name.test)
	}
	fmt.Fprintf(l.out, "%d passed, %d failed, %d skipped\n", l.passed, len(l.failed), l.skipped)
	if len(l.failed) > 0 || l.broken || l.passed == 0 {
		return 1
	}
	return 0
}

// short is a package's path without that of the module.
func short(pkg string) string {
	const module = "github.com/keyhold/kms"
	if pkg == module {
		return "kms"
	}
	return strings.TrimPrefix(pkg, module+"/")
}
