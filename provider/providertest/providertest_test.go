package providertest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/provider/providertest"
	"github.com/keyhold/kms/software"
)

// TestEachCaseFailsAlone runs all cases against providers that are broken, each in the
// way that one case forbids: that case fails, and no other does.
func TestEachCaseFailsAlone(t *testing.T) {
	t.Parallel()
	names, whys := providertest.Names()
	require.NotEmpty(t, names)
	whyOf := map[string]string{}
	for i, name := range names {
		require.NotContains(t, whyOf, name, "two cases of one name")
		require.NotEmpty(t, whys[i])
		whyOf[name] = whys[i]
	}

	caught := map[string]bool{}
	for _, b := range brokenProviders {
		require.Contains(t, whyOf, b.fails, "%s: no case has that name", b.name)
		caught[b.fails] = true
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			for _, name := range names {
				r := watch(t, name, b.make())
				switch {
				case name == b.fails:
					require.True(t, r.failed, "%q passed", name)
					require.Contains(t, r.log.String(), "why: "+whyOf[name])
				default:
					require.False(t, r.failed, "%q failed too: %s", name, r.log.String())
				}
			}
		})
	}
	for _, name := range names {
		require.True(t, caught[name], "no broken provider fails %q", name)
	}
}

// TestTheSoundPass: the provider that the broken ones are made of passes every case, also
// where the result is watched as it is for them.
func TestTheSoundPass(t *testing.T) {
	t.Parallel()
	names, _ := providertest.Names()
	require.NotEmpty(t, names)
	for _, name := range names {
		r := watch(t, name, &hooked{Provider: software.New()})
		require.False(t, r.failed, "%q failed: %s", name, r.log.String())
	}
}

// recorder is a testing.T that keeps what happened.
type recorder struct {
	ctx      context.Context
	mu       sync.Mutex
	failed   bool
	log      strings.Builder
	cleanups []func()
}

var _ providertest.TB = (*recorder)(nil)

// watch runs one case as testing would.
func watch(t *testing.T, name string, p provider.Provider) *recorder {
	t.Helper()
	r := &recorder{ctx: t.Context()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, f := range r.cleanups {
				f()
			}
		}()
		providertest.Check(name, r, p)
	}()
	<-done
	return r
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) Cleanup(f func())         { r.cleanups = append(r.cleanups, f) }

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
