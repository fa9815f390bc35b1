package legacytest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/legacy/legacytest"
)

// TestBrokenSourcesFail runs all cases against Sources that are broken, each in one way: the cases
// that forbid it fail, and no other does.
func TestBrokenSourcesFail(t *testing.T) {
	t.Parallel()
	names, whys := legacytest.Names()
	require.NotEmpty(t, names)
	whyOf := map[string]string{}
	for i, name := range names {
		require.NotContains(t, whyOf, name, "two cases of one name")
		require.NotEmpty(t, whys[i])
		whyOf[name] = whys[i]
	}
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
				r := watch(t, name, subject(t, b.hooks))
				if r.failed {
					failed = append(failed, name)
					require.Contains(t, r.log.String(), "why: "+whyOf[name])
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
	names, _ := legacytest.Names()
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
			require.True(t, watch(t, name, s).failed, "%s: %q passed", what, name)
		}
	}
	one := subject(t, hooks{})
	one.Known = append(one.Known[:1:1], one.Known[0])
	one.Known[1].EncryptionContext = map[string]string{"a": "b"}
	require.True(t, watch(t, "known ciphertexts open", one).failed)
}

// recorder is a testing.T that keeps what happened.
type recorder struct {
	ctx    context.Context
	mu     sync.Mutex
	failed bool
	log    strings.Builder
}

// watch runs a case and tells what became of it.
func watch(t *testing.T, name string, s legacytest.Subject) *recorder {
	r := &recorder{ctx: t.Context()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		legacytest.Check(name, r, s)
	}()
	<-done
	return r
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.log, format+"\n", args...)
}

func (r *recorder) Errorf(format string, args ...any) {
	r.Logf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}
