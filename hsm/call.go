//go:build cgo

package hsm

import (
	"context"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/provider"
)

// A session is what one call has to itself, with its generation.
type session struct {
	g     *generation
	h     pkcs11.SessionHandle
	spent bool // an answer was no success: the session is not used again
}

// fail makes an Error of what the module answered to a function; nil of a success.
func (s *session) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	s.spent = true
	if code, ok := errors.AsType[pkcs11.Error](err); ok {
		return newError(op, uint(code))
	}
	return unavailable(op + " failed without a code")
}

// A way to call the module.
type way struct {
	alone bool // with nobody else in the module
	again bool // once more on a new connection where the old one had gone bad
}

var (
	using      = way{again: true}
	destroying = way{alone: true, again: true}
	creating   = way{alone: true}
)

type outcome[T any] struct {
	value T
	err   error
}

// do calls f with a session. It returns when f does, or when ctx ends: then f goes on with
// nobody to hear it, and keeps its ticket until the module lets it go. So f may not touch
// what belongs to do's caller.
func do[T any](ctx context.Context, t *Token, w way, f func(*session) (T, error)) (none T, err error) {
	if t == nil || t.turn == nil {
		return none, unsupported("the Token was not made by hsm.Open")
	}
	for {
		if ctx.Err() != nil {
			return none, late(ctx)
		}
		g, err := t.connected(ctx)
		if err != nil {
			return none, err
		}
		release, err := g.enterCall(ctx, w.alone)
		if err == errRetired {
			continue
		}
		if err != nil {
			return none, err
		}
		value, err := within(ctx, g, release, f)
		if err == nil || !w.again || g.good() || !errors.Is(err, provider.ErrUnavailable) || ctx.Err() != nil {
			return value, err
		}
		w.again = false
	}
}

// errRetired says that a generation ended before a call began in it.
var errRetired = errors.New("hsm: the connection was replaced")

// enterCall takes a ticket, or all.
func (g *generation) enterCall(ctx context.Context, alone bool) (release func(), err error) {
	if !alone {
		if err := g.ticket(ctx); err != nil {
			return nil, err
		}
		release = g.release
	} else if release, err = g.allTickets(ctx); err != nil {
		return nil, err
	}
	if !g.good() {
		release()
		return nil, errRetired
	}
	return release, nil
}

func (g *generation) release() { <-g.tickets }

func (g *generation) ticket(ctx context.Context) error {
	select {
	case g.tickets <- struct{}{}:
		return nil
	default:
	}
	select {
	case g.tickets <- struct{}{}:
		return nil
	case <-g.gone:
		return errRetired
	case <-ctx.Done():
		return late(ctx)
	}
}

func (g *generation) allTickets(ctx context.Context) (release func(), err error) {
	select {
	case g.alone <- struct{}{}:
	case <-g.gone:
		return nil, errRetired
	case <-ctx.Done():
		return nil, late(ctx)
	}
	taken := 0
	release = func() {
		for range taken {
			g.release()
		}
		<-g.alone
	}
	for ; taken < cap(g.tickets); taken++ {
		if err := g.ticket(ctx); err != nil {
			release()
			return nil, err
		}
	}
	return release, nil
}

// within runs f in a generation. Where ctx can end, that is on another goroutine.
func within[T any](ctx context.Context, g *generation, release func(), f func(*session) (T, error)) (none T, err error) {
	if ctx.Done() == nil {
		defer release()
		return guarded(g, f)
	}
	done := make(chan outcome[T], 1)
	go func() {
		defer release()
		value, err := guarded(g, f)
		done <- outcome[T]{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		return none, late(ctx)
	}
}

// guarded runs f with a session that nobody else has. No panic passes it.
func guarded[T any](g *generation, f func(*session) (T, error)) (value T, err error) {
	s := session{g: g}
	defer func() {
		if p := recover(); p != nil {
			s.spent, err = true, unavailable(fmt.Sprintf("a panic of type %T", p))
		}
		if errors.Is(err, provider.ErrUnavailable) {
			g.bad.Store(true)
		}
		if s.h != 0 || s.spent {
			s.end()
		}
	}()
	if s.h, err = g.session(); err != nil {
		return value, s.fail("C_OpenSession", err)
	}
	return f(&s)
}

// end gives the session back, or closes it.
func (s *session) end() {
	if !s.spent {
		select {
		case s.g.idle <- s.h:
			return
		default:
		}
	}
	_ = s.g.p.CloseSession(s.h)
}
