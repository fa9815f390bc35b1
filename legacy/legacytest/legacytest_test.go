package legacytest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/legacy/legacytest"
)

// TestBrokenSourcesFail runs all cases against Sources that are broken, each in one way: the cases
// that forbid it fail, and no other does.
func TestBrokenSourcesFail(t *testing.T) {
	t.Parallel()
	names, whyOf := legacytest.Promises.Names(t)
	caught := map[string]bool{}
	for _, b := range brokenSources {
		require.NotEmpty(t, b.fails, b.name)
		for _, name := range b.fails {
			require.Contains(t, whyOf, name, "%s: no case has that name", b.name)
		}
		caught[b.fails[0]] = true
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			var failed []string
			for _, name := range names {
				r := legacytest.Promises.Watch(t.Context(), name, subject(t, b.hooks))
				if r.Failed() {
					failed = append(failed, name)
					require.Contains(t, r.Log(), "why: "+whyOf[name])
				}
			}
			require.ElementsMatch(t, b.fails, failed)
		})
	}
	for _, name := range names {
		require.True(t, caught[name], "no broken Source was made to fail %q", name)
	}
}

// TestTheSoundPass: the Source that the broken ones are made of passes every case.
func TestTheSoundPass(t *testing.T) {
	t.Parallel()
	legacytest.Run(t, func(t *testing.T) legacytest.Subject { return subject(t, hooks{}) })
}

// TestPoorSubjects: a Subject with which cases would pass for want of anything to look at fails
// all of them.
func TestPoorSubjects(t *testing.T) {
	t.Parallel()
	names, _ := legacytest.Promises.Names(t)
	for what, spoil := range map[string]func(*legacytest.Subject){
		"no Source":        func(s *legacytest.Subject) { s.Source = nil },
		"no bare Source":   func(s *legacytest.Subject) { s.Bare = nil },
		"one ciphertext":   func(s *legacytest.Subject) { s.Known = s.Known[:1] },
		"nothing foreign":  func(s *legacytest.Subject) { s.Foreign = nil },
		"always a context": func(s *legacytest.Subject) { s.Known = s.Known[2:] },
		"a context never":  func(s *legacytest.Subject) { s.Known = s.Known[:2] },
	} {
		s := subject(t, hooks{})
		spoil(&s)
		for _, name := range names {
			require.True(t, legacytest.Promises.Watch(t.Context(), name, s).Failed(), "%s: %q passed", what, name)
		}
	}
	one := subject(t, hooks{})
	one.Known = append(one.Known[:1:1], one.Known[0])
	one.Known[1].EncryptionContext = map[string]string{"a": "b"}
	require.True(t, legacytest.Promises.Watch(t.Context(), "known ciphertexts open", one).Failed())
}
