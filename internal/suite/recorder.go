package suite

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Recorder is a TB that keeps what happened. Record makes one.
type Recorder struct {
	ctx      context.Context
	mu       sync.Mutex
	failed   bool
	log      strings.Builder
	cleanups []func()
}

var _ TB = (*Recorder)(nil)

// Record runs f as package testing would run a test, in a goroutine of its own, and returns when
// f and its cleanups have ended.
func Record(ctx context.Context, f func(TB)) *Recorder {
	r := &Recorder{ctx: ctx}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.cleanUp()
		f(r)
	}()
	<-done
	return r
}

func (r *Recorder) cleanUp() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}

// Log returns what Logf, Errorf and Fatalf wrote, one line a call.
func (r *Recorder) Log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// Helper does nothing.
func (r *Recorder) Helper() {}

// Context returns the context that Record was given.
func (r *Recorder) Context() context.Context { return r.ctx }

// Cleanup keeps f until the function that Record runs has ended. The last f is called first.
func (r *Recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// Logf adds a line to the log.
func (r *Recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.log, format+"\n", args...)
}

// Errorf adds a line to the log and marks a failure.
func (r *Recorder) Errorf(format string, args ...any) {
	r.Logf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

// Fatalf is Errorf, and ends the goroutine.
func (r *Recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// Failed reports whether Errorf or Fatalf was called.
func (r *Recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}
