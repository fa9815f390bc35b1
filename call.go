package kms

import (
	"context"
	"time"

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
	return &call{m: m, op: op, moment: fresh.Moment{Clock: m.clock}}
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
	}
	if c.m.tell != nil {
		c.m.tell(ctx, Event{
			Time: c.now(), Op: c.op, KeyID: c.keyID, KeyVersion: int(c.version), Instance: c.instance, Service: c.service,
			Reason: c.reason, Notice: c.notice(*err), Err: *err,
		})
	}
}

func (c *call) authorize(ctx context.Context, r Request) error {
	if c.m.ask == nil {
		return nil
	}
	r.Op, r.Service = c.op, c.service
	if err := c.m.ask(ctx, r); err != nil {
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
