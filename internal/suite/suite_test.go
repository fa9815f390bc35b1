package suite_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/suite"
)

// A fixture is a subject and the TB of the case.
type fixture struct {
	suite.TB
	subject int
}

func small(cases ...suite.Case[fixture]) suite.Suite[int, fixture] {
	return suite.Suite[int, fixture]{
		Cases:   cases,
		Fixture: func(t suite.TB, subject int) fixture { return fixture{t, subject} },
	}
}

func TestRunGivesEachCaseItsOwnSubject(t *testing.T) {
	t.Parallel()
	var seen []int
	note := func(f fixture) { seen = append(seen, f.subject) }
	s := small(suite.Case[fixture]{Name: "one", Run: note}, suite.Case[fixture]{Name: "two", Run: note})
	opened := 0
	s.Run(t, func(*testing.T) int { opened++; return opened })
	require.Equal(t, []int{1, 2}, seen)
}

func TestNamesAreInOrder(t *testing.T) {
	t.Parallel()
	names, whyOf := small(suite.Case[fixture]{Name: "b", Why: "first"}, suite.Case[fixture]{Name: "a", Why: "second"}).Names(t)
	require.Equal(t, []string{"b", "a"}, names)
	require.Equal(t, map[string]string{"b": "first", "a": "second"}, whyOf)
}

func TestNamesRefusesPoorSuites(t *testing.T) {
	t.Parallel()
	one := suite.Case[fixture]{Name: "one", Why: "it matters"}
	for want, s := range map[string]suite.Suite[int, fixture]{
		"there is no case\n":                    small(),
		"two cases are called \"one\"\n":        small(one, one),
		"\"two\" does not say why it matters\n": small(one, suite.Case[fixture]{Name: "two"}),
	} {
		r := suite.Record(t.Context(), func(tb suite.TB) { s.Names(tb) })
		require.True(t, r.Failed())
		require.Equal(t, want, r.Log())
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	s := small(
		suite.Case[fixture]{Name: "sound", Why: "never told", Run: func(f fixture) { f.Logf("subject %d", f.subject) }},
		suite.Case[fixture]{Name: "fails", Why: "it matters", Run: func(f fixture) { f.Errorf("one"); f.Fatalf("two"); f.Errorf("three") }},
		suite.Case[fixture]{Name: "panics", Why: "it matters", Run: func(fixture) { panic("a bug") }},
	)
	for name, want := range map[string]struct {
		failed bool
		log    string
	}{
		"sound":   {false, `^subject 7\n$`},
		"fails":   {true, `^one\ntwo\nwhy: it matters\n$`},
		"panics":  {true, `(?s)^panic: a bug\n.*suite_test\.go.*\nwhy: it matters\n$`},
		"unknown": {true, `^no case is called "unknown"\n$`},
	} {
		r := s.Watch(t.Context(), name, 7)
		require.Equal(t, want.failed, r.Failed(), name)
		require.Regexp(t, want.log, r.Log(), name)
	}
}

// A fixture that cannot be made is a failure of the case.
func TestWatchOfNoFixture(t *testing.T) {
	t.Parallel()
	s := small(suite.Case[fixture]{Name: "any", Why: "it matters", Run: func(fixture) { panic("not reached") }})
	s.Fixture = func(t suite.TB, _ int) fixture { t.Fatalf("nothing to look at"); return fixture{} }
	require.Equal(t, "nothing to look at\nwhy: it matters\n", s.Watch(t.Context(), "any", 0).Log())
}

// Cleanups run after a case that failed, too, and in the order of package testing.
func TestRecordCleansUp(t *testing.T) {
	t.Parallel()
	var order []string
	r := suite.Record(t.Context(), func(tb suite.TB) {
		require.Equal(t, t.Context(), tb.Context())
		tb.Helper()
		tb.Cleanup(func() { order = append(order, "first") })
		tb.Cleanup(func() { order = append(order, "second") })
		require.False(t, tb.Failed())
		tb.Fatalf("it ends here")
	})
	require.True(t, r.Failed())
	require.Equal(t, []string{"second", "first"}, order)
}

func TestBytes(t *testing.T) {
	t.Parallel()
	b := suite.Random(32)
	require.Len(t, b, 32)
	require.NotEqual(t, b, suite.Random(32))
	require.Equal(t, []byte{1, 0x80}, suite.Flip([]byte{1, 0}, 8))
	require.Equal(t, []byte("abc"), suite.Join([]byte("a"), nil, []byte("bc")))
	scribbled := []byte{0, 0xff}
	suite.Scribble(scribbled)
	require.Equal(t, []byte{0xa5, 0x5a}, scribbled)
}

func TestGuardSeesEveryByte(t *testing.T) {
	t.Parallel()
	changed := func(change func(*suite.Guarded)) bool {
		return suite.Record(t.Context(), func(tb suite.TB) {
			g := suite.Guard([]byte("slice"))
			change(g)
			g.Check(tb, "the slice")
		}).Failed()
	}
	require.False(t, changed(func(g *suite.Guarded) { require.Equal(t, "slice", string(g.Slice)) }))
	require.True(t, changed(func(g *suite.Guarded) { g.Slice[4]++ }))
	require.True(t, changed(func(g *suite.Guarded) { _ = append(g.Slice, g.Slice[:cap(g.Slice):cap(g.Slice)][len(g.Slice)]+1) }))
}
