//go:build cgo

package hsm

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/keyhold/kms/provider"
)

// Token is one token, logged in. All its methods may be called by many goroutines at once.
// It is made by Open; the calls of any other are provider.ErrUnsupported.
type Token struct {
	cfg         Config
	gen         atomic.Pointer[generation] // the connection; nil only before Open has returned
	turn        chan struct{}              // held by who connects, and by Close
	tried       time.Time                  // the rest is of whoever has the turn
	failed      error                      // of the last attempt to connect
	closed      atomic.Bool
	serial      string
	witness     objectID // of the first connection
	connections atomic.Int64
	refused     func(pin string) bool // whether the token refused that PIN before
}

var (
	_ provider.Provider = (*Token)(nil)
	_ provider.Importer = (*Token)(nil)
)

// Open connects to a token, logs in, and makes the witness if there is none yet. What it
// cannot do now is provider.ErrUnavailable; a PIN that the token does not take is
// ErrCredentials, and an incomplete Config is ErrConfig.
func Open(ctx context.Context, cfg Config) (*Token, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	t := &Token{cfg: cfg, turn: make(chan struct{}, 1), refused: func(string) bool { return false }}
	if _, err := t.connected(ctx); err != nil {
		t.closed.Store(true) // an attempt that is under way ends without a connection
		return nil, err
	}
	return t, nil
}

// Close lets go of the module, which logs out where nobody else has it. Calls that are under way
// are waited for, for up to a second; afterwards every call is provider.ErrUnavailable. It may be
// called twice. While a connection is being made, in a module that hangs, it is
// provider.ErrUnavailable, and done later.
func (t *Token) Close() error {
	if t == nil || t.turn == nil {
		return nil
	}
	t.closed.Store(true)
	timer := time.NewTimer(drain)
	defer timer.Stop()
	select {
	case t.turn <- struct{}{}:
	case <-timer.C:
		return unavailable("the module does not answer")
	}
	defer func() { <-t.turn }()
	if g := t.gen.Load(); g != nil {
		g.retire()
	}
	return nil
}

// pause is how long after an attempt to connect that failed the next one is made.
const pause = 200 * time.Millisecond

// connected returns the connection, and makes it anew where it has gone bad.
func (t *Token) connected(ctx context.Context) (*generation, error) {
	if g := t.gen.Load(); g != nil && g.good() {
		return g, nil
	}
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, late(ctx)
	}
	done := make(chan outcome[*generation], 1)
	go func() {
		defer func() { <-t.turn }()
		g, err := t.reconnect()
		done <- outcome[*generation]{g, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		return nil, late(ctx)
	}
}

// reconnect replaces the connection, unless somebody did so just now, or failed to. It is for
// whoever has the turn.
func (t *Token) reconnect() (*generation, error) {
	old := t.gen.Load()
	switch {
	case t.closed.Load():
		return nil, unavailable("the token was closed")
	case old != nil && old.good():
		return old, nil
	case t.failed != nil && time.Since(t.tried) < pause:
		return nil, t.failed
	}
	if old != nil {
		old.retire()
	}
	g, err := t.connect()
	if err == nil && t.closed.Load() {
		g.retire()
		g, err = nil, unavailable("the token was closed")
	}
	t.tried, t.failed = time.Now(), err
	if err != nil {
		return nil, err
	}
	t.connections.Add(1)
	t.gen.Store(g)
	return g, nil
}
