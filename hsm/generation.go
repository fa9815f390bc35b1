//go:build cgo

package hsm

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"
)

// A generation is one connection to a token: the module, the login, the sessions, and all the
// handles that were found through them. It is never repaired. When something is wrong with it
// it is retired as a whole, and another is made.
type generation struct {
	c11  *crypto11.Context // the login, key pairs and those who sign with them
	p    *pkcs11.Ctx       // the same module: all else
	own  bool              // p is a client of its own, as behind p11-kit
	slot uint
	info pkcs11.TokenInfo

	tickets chan struct{}             // whoever is in the module has put one in
	alone   chan struct{}             // held by who takes all tickets
	idle    chan pkcs11.SessionHandle // sessions whose last call succeeded
	handles sync.Map                  // place -> pkcs11.ObjectHandle
	misses  atomic.Int32              // of handles
	gones   atomic.Uint64             // how many objects were destroyed
	bareRSA atomic.Bool               // the token's OAEP has no SHA-256
	bad     atomic.Bool
	gone    chan struct{} // closed when it is retired
	retired sync.Once
}

// good tells whether nothing is known to be wrong.
func (g *generation) good() bool {
	select {
	case <-g.gone:
		return false
	default:
		return !g.bad.Load()
	}
}

// drain is how long a generation that is retired waits for the calls in it. Only when none is
// left can the module be finalised: to do so under a call is not defined.
const drain = time.Second

// retire ends a generation. Who waits for a ticket is sent away, and when the calls that are
// under way have returned it is closed. If they take longer than drain, that happens later,
// or never, where the module hangs.
func (g *generation) retire() {
	g.retired.Do(func() {
		close(g.gone)
		drained := make(chan struct{})
		go func() {
			for range cap(g.tickets) {
				g.tickets <- struct{}{}
			}
			g.close()
			close(drained)
		}()
		timer := time.NewTimer(drain)
		defer timer.Stop()
		select {
		case <-drained:
		case <-timer.C:
		}
	})
}

// close lets go of the module, which it finalises if nobody else has it.
func (g *generation) close() {
	defer func() { _ = recover() }() // crypto11 panics where its count of modules is wrong
	for len(g.idle) > 0 {
		_ = g.p.CloseSession(<-g.idle)
	}
	if g.own {
		_ = g.p.Finalize()
	}
	_ = g.c11.Close()
	g.p.Destroy()
}

// session returns one whose last call succeeded, or a new one.
func (g *generation) session() (pkcs11.SessionHandle, error) {
	select {
	case h := <-g.idle:
		return h, nil
	default:
		return g.p.OpenSession(g.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	}
}
