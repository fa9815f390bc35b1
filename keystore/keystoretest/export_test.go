package keystoretest

import (
	"context"
	"fmt"
	"runtime"

	"github.com/keyhold/kms/keystore"
)

// CaseNames returns the names of all cases.
func CaseNames() []string {
	var names []string
	for _, c := range cases {
		names = append(names, c.name)
	}
	return names
}

// Verdict runs a case and returns how it failed; "" if it did not.
func Verdict(ctx context.Context, name string, open func() keystore.Store, reopen func(keystore.Store) keystore.Store) string {
	for _, c := range cases {
		if c.name != name {
			continue
		}
		r := &recorder{ctx: ctx}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.run(&trial{TB: r, Store: open(), reopen: reopen})
		}()
		<-done
		return r.failure
	}
	return "there is no such case"
}

// A recorder keeps what a testing.T would print.
type recorder struct {
	ctx     context.Context
	failure string
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
