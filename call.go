package kms

import (
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/fresh"
	"github.com/keyhold/kms/internal/keyid"
)

// Request is what Config.Authorize decides on.
type Request struct {
	Op       Op
	KeyID    string // the key concerned, also where the caller named an alias; "" where there is none
	Alias    string // the alias, where the caller named the key by it or the call is about it
	Instance string // the instance, where the call is about one or makes a key in one
	Service  string // the code of the service, where the call came through Manager.Service

	// EncryptionContext is what the caller gave, for uses of a key. Do not change it. It is
	// no secret, and printers show it.
	EncryptionContext EncryptionContext
}

// Event is what Config.Observe is told when a call is over, and when a step was taken because time
// asked for it. The event of a call is told on the caller's goroutine, with the caller's context: a
// caller that named a key by an alias, and wants to know which key signed, puts a place for the answer
// there (see the example of Event).
type Event struct {
	Time       time.Time // that the call went by
	Op         Op        // the call; for a step, the call that took it, which is mostly Maintain
	KeyID      string    // the key concerned, whether or not it exists; "" where there is none
	KeyVersion int       // the version that was used, for uses of a key; the new one, for StepRotated
	Instance   string    // the instance, where the call is about one; for a step, also that of the key
	Service    string    // the code of the service, where the call came through Manager.Service
	Step       Step      // what was done to the key or the instance; "" for the event of a call itself
	Reason     string    // that the caller gave for what was done by force, or for a release
	Notice     Notice    // what somebody should be told, besides the call; "": nothing
	Protected  []string  // with a notice of an instance's end: the first 100 of its keys under deletion protection
	Err        error     // nil if the call did what it was asked, or the step was taken
}

// A call is one call of the service: what it does, when it began, what it concerns.
type call struct {
	m        *Manager
	op       Op
	moment   fresh.Moment // when it is
	keyID    string
	version  uint32
	instance string
	service  string // the code of the service whose view was called; "": the Manager itself
	tally    *tally // of the key version that is used
	refused  error  // by what the key is
	forced   bool   // in spite of deletion protection
	reason   string // why
}

// begin begins a call. It is small enough to be inlined, so that a call takes no memory of its own
// (TestAppendAllocates).
func (m *Manager) begin(op Op) *call {
	if m == nil {
		m = &unopened
	}
	return &call{m: m, op: op, moment: fresh.Moment{Clock: m.clock}}
}

// unopened is a Manager that Open did not make. What it is asked enter refuses.
var unopened Manager

// enter is the gate of every call: it refuses one whose context has ended, and one of a Manager that
// Open did not make. Nothing was read before, and nothing is in memory that would let a call by.
func (c *call) enter(ctx context.Context) error {
	if ctx != nil && c.m.store != nil && ctx.Err() == nil {
		return nil
	}
	if c.m.store == nil {
		return &refusal{op: c.op, cond: ErrInvalid, text: "the Manager was not made by Open", hint: "Use the Manager that Open returned beside a nil error."}
	}
	return checkContext(ctx, c.op)
}

// checkContext refuses a context that is nil or has ended.
func checkContext(ctx context.Context, op Op) error {
	switch {
	case ctx == nil:
		return &refusal{op: op, cond: ErrInvalid, text: "the context is nil", hint: "Give a context; if there is none, context.Background()."}
	case ctx.Err() != nil:
		return canceled(ctx, &UnavailableError{refusal: refusal{op: op, cond: ErrCanceled}})
	}
	return nil
}

// ended gives the errors of a call whose context has ended the condition for that, where they are
// ErrUnavailable: that the key store or the provider did not answer says nothing about them then.
func ended(ctx context.Context, err error) error {
	if err == nil || ctx == nil || ctx.Err() == nil {
		return err
	}
	for e := err; e != nil; e = errors.UnwrapOnce(e) {
		switch e := e.(type) {
		case *UnavailableError:
			if e.cond == ErrUnavailable && e.Err != nil {
				return canceled(ctx, e)
			}
			return err
		case interface{ self() *refusal }, *BlockedError:
			return err
		case interface{ Unwrap() []error }:
			var all []error
			for _, one := range e.Unwrap() {
				all = append(all, ended(ctx, one))
			}
			return errors.Join(all...)
		}
	}
	return err
}

// canceled is an error that there was no answer as it is for a context that has ended.
func canceled(ctx context.Context, e *UnavailableError) error {
	of := *e
	of.cond = ErrCanceled
	if !of.Unknown {
		of.hint = ""
	}
	for _, end := range []error{ctx.Err(), context.Cause(ctx)} {
		switch {
		case of.Err == nil:
			of.Err = end
		case !errors.Is(of.Err, end):
			of.Err = fmt.Errorf("%w: %w", end, of.Err)
		}
	}
	of.cause = of.Err
	return &of
}

// endedIn is a loop's yield that says of errors what ended says.
func endedIn[T any](ctx context.Context, yield func(T, error) bool) func(T, error) bool {
	return func(v T, err error) bool { return yield(v, ended(ctx, err)) }
}

// also is another operation that is thought of within a call, at the same time.
func (c *call) also(op Op) *call {
	return &call{m: c.m, op: op, moment: fresh.Moment{Clock: c.m.clock, At: c.began()}}
}

// began is when the call began, for ages.
func (c *call) began() time.Time { return c.moment.Began() }

// now is the time that the call goes by: when it began; for a change, when it decides.
func (c *call) now() time.Time { return recorded(c.began()) }

// reread reads the clock again.
func (c *call) reread() { c.moment.Reread() }

// second is now as uses are dated, in seconds since 1970.
func (c *call) second() int64 {
	if c.moment.At.IsZero() {
		if tick := c.m.tick.Load(); tick != 0 {
			return tick
		}
	}
	return c.began().Unix()
}

// end counts a use and tells Observe. It is deferred.
func (c *call) end(ctx context.Context, err *error) {
	switch {
	case *err == nil && c.tally != nil:
		if c.tally.count(c.op, c.second()) {
			id, _ := keyid.Parse(c.keyID)
			c.m.usage.wake(c.tally, id, c.version)
		}
	case c.refused != nil && c.refused == *err && lifecycle[c.op].isUse():
		c.countRefusal(*err)
	case *err != nil:
		*err = ended(ctx, *err)
	}
	if c.m.tell != nil {
		if ctx == nil {
			ctx = context.Background()
		}
		c.m.tell(ctx, Event{
			Time: c.now(), Op: c.op, KeyID: c.keyID, KeyVersion: int(c.version), Instance: c.instance, Service: c.service,
			Reason: c.reason, Notice: c.notice(*err), Err: *err,
		})
	}
}

// authorize lets the call in and asks Config.Authorize.
func (c *call) authorize(ctx context.Context, r Request) error {
	if err := c.enter(ctx); err != nil || c.m.ask == nil {
		return err
	}
	r.Op, r.Service = c.op, c.service
	switch err := c.m.ask(ctx, r); {
	case err == nil:
	case ctx.Err() != nil && errors.Is(err, ctx.Err()): // it could not say
		return canceled(ctx, &UnavailableError{refusal: refusal{op: c.op, cond: ErrCanceled, text: "Config.Authorize"}, Err: err})
	default:
		keyID := r.KeyID
		if r.Alias != "" {
			keyID = "" // who is denied does not learn what key an alias names
		}
		return refuseBecause(c.op, keyID, ErrDenied, "", err)
	}
	return nil
}

// authorizeInstance is authorize for calls that are about an instance.
func (c *call) authorizeInstance(ctx context.Context, id string) error {
	c.instance = id
	return c.authorize(ctx, Request{Instance: id})
}

// Used is the key version that did the work of a call.
type Used struct {
	KeyID      string
	KeyVersion int // 0: one that the key had in another system
}

func (c *call) used() Used { return Used{KeyID: c.keyID, KeyVersion: int(c.version)} }
