package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shown is what is shown of lines that go test printed, and the exit code.
func shown(lines string) (string, int) {
	var b strings.Builder
	l := newLog(&b)
	for line := range strings.Lines(lines) {
		l.line(strings.TrimSuffix(line, "\n"))
	}
	code := l.end()
	return b.String(), code
}

const pkg = `"Package":"github.com/keyhold/kms/hsm"`

func TestLog(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing ran", ``, "0 passed, 0 failed, 0 skipped\n"},
		{"what is no event", "go: downloading x", "go: downloading x\n0 passed, 0 failed, 0 skipped\n"},
		{"a quick test", `{"Action":"run",` + pkg + `,"Test":"TestA"}
{"Action":"output",` + pkg + `,"Test":"TestA","Output":"a detail\n"}
{"Action":"pass",` + pkg + `,"Test":"TestA","Elapsed":0.2}
{"Action":"output",` + pkg + `,"Output":"PASS\n"}
{"Action":"output",` + pkg + `,"Output":"ok  \thsm\t0.3s\n"}
{"Action":"pass",` + pkg + `}`, "ok  \thsm\t0.3s\n1 passed, 0 failed, 0 skipped\n"},
		{"a long one", `{"Action":"pass",` + pkg + `,"Test":"TestA","Elapsed":12.34}`, "      12.3s  hsm TestA\n1 passed, 0 failed, 0 skipped\n"},
		{"a part is not counted", `{"Action":"pass",` + pkg + `,"Test":"TestA/b","Elapsed":12.34}`, "0 passed, 0 failed, 0 skipped\n"},
		{"a failure", `{"Action":"output",` + pkg + `,"Test":"TestA","Output":"why\n"}
{"Action":"fail",` + pkg + `,"Test":"TestA"}
{"Action":"pass",` + pkg + `,"Test":"TestB"}
{"Action":"fail",` + pkg + `}`, "why\nFAILED  hsm TestA\n1 passed, 1 failed, 0 skipped\n"},
		{"a panic", `{"Action":"pass",` + pkg + `,"Test":"TestB"}
{"Action":"output",` + pkg + `,"Test":"TestA","Output":"panic\n"}
{"Action":"fail",` + pkg + `}`, "panic\n1 passed, 0 failed, 0 skipped\n"},
		{"what does not build", `{"Action":"pass",` + pkg + `,"Test":"TestB"}
{"Action":"build-output","ImportPath":"x","Output":"x.go:1: no\n"}
{"Action":"build-fail","ImportPath":"x"}`, "x.go:1: no\n1 passed, 0 failed, 0 skipped\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, code := shown(c.in)
			require.Equal(t, c.want, got)
			good := c.name == "a quick test" || c.name == "a long one"
			require.Equal(t, good, code == 0)
		})
	}
}

// TestRunning: what runs for long is said while it runs.
func TestRunning(t *testing.T) {
	var b strings.Builder
	l := newLog(&b)
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l.event(event{Action: "run", Package: "github.com/keyhold/kms", Test: "TestLong", Time: begun})
	l.event(event{Action: "run", Package: "github.com/keyhold/kms", Test: "TestLong/part", Time: begun})
	l.running(begun.Add(9 * time.Second))
	require.Empty(t, b.String())
	for _, action := range []string{"run", "pause"} {
		l.event(event{Action: action, Package: "github.com/keyhold/kms", Test: "TestWaiting", Time: begun})
	}
	l.running(begun.Add(42 * time.Second))
	require.Equal(t, "        42s… kms TestLong\n", b.String())
}
