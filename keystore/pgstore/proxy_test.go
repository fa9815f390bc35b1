package pgstore_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A fault is what a proxy does to the bytes that go through it.
type fault int

const (
	whole      fault = iota // they go through
	renewed                 // what is open is closed, and new connections are whole
	cut                     // connections are closed, and new ones refused
	stalled                 // nothing goes through any more, and nothing is closed
	halfClosed              // what the server says ends, and what it is told goes on
	dripping                // a byte a second goes through
	lost                    // nothing goes through, and never will where there is a connection now
	garbled                 // one answer in ten has a byte that is another
	muted                   // what the server says to a statement that writes is dropped
)

// A proxy stands between a Store and its server.
type proxy struct {
	listener net.Listener
	server   string

	mu      sync.Mutex
	fault   fault
	changed chan struct{}             // closed when fault changes
	conns   map[*net.TCPConn]*carried // by the side that faults are done to
}

// carried is what is known of one connection.
type carried struct{ lost, writes atomic.Bool }

func newProxy(t *testing.T, server string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, server: server, changed: make(chan struct{}), conns: map[*net.TCPConn]*carried{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.serve(client.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.set(cut)
		all.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// lead closes what is open and leads to another server from now on.
func (p *proxy) lead(server string) {
	p.mu.Lock()
	p.server = server
	p.mu.Unlock()
	p.set(renewed)
}

// set begins a fault. Those that close do so to what is open.
func (p *proxy) set(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
	close(p.changed)
	p.changed = make(chan struct{})
	for c, state := range p.conns {
		switch f {
		case lost:
			state.lost.Store(true)
		case cut, renewed:
			_ = c.Close()
		case halfClosed:
			_ = c.CloseWrite()
		}
	}
}

func (p *proxy) state() (fault, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault, p.changed
}

func (p *proxy) serve(client *net.TCPConn) {
	defer client.Close()
	if f, _ := p.state(); f == cut {
		return
	}
	p.mu.Lock()
	address := p.server
	p.mu.Unlock()
	dialled, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	server := dialled.(*net.TCPConn)
	defer server.Close()
	var c carried
	p.mu.Lock()
	p.conns[client] = &c
	c.lost.Store(p.fault == lost)
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pass(server, client, &c, false) })
	both.Go(func() { p.pass(client, server, &c, true) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, client)
	p.mu.Unlock()
}

// pass carries bytes one way until either side ends, as the fault of the moment says.
func (p *proxy) pass(to, from *net.TCPConn, c *carried, answers bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		for at := 0; at < n; {
			f, changed := p.state()
			part := buffer[at:n]
			if c.lost.Load() {
				break
			}
			switch f {
			case cut:
				return
			case muted:
				if !answers && bytes.Contains(part, []byte("unnest(")) {
					c.writes.Store(true)
				}
				if answers && c.writes.Load() {
					at = n
					continue
				}
			case garbled:
				if answers && rand.IntN(10) == 0 {
					part[rand.IntN(len(part))] ^= 1 << rand.IntN(8)
				}
			case stalled:
				<-changed
				continue
			case dripping:
				select {
				case <-time.After(time.Second):
					part = part[:1]
				case <-changed:
					continue
				}
			}
			if _, err := to.Write(part); err != nil {
				_, _ = io.Copy(io.Discard, from)
				return
			}
			at += len(part)
		}
		if err != nil {
			return
		}
	}
}
