// Package rotation_test runs a rotation of the root beside everything that writes to an instance,
// in every order that two processes can come in, and kills either of them at every call.
package rotation_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing/synctest"

	"github.com/keyhold/kms/keystore"
)

// errKilled is what a process gets of its store once it was killed.
var errKilled = errors.New("the process was killed")

// A verdict is what becomes of a call of the store.
type verdict int

const (
	goes       verdict = iota
	diesBefore         // the process is killed before the call has an effect
	diesAfter          // the process is killed after it, and never learns of it
)

// A process is one process with its way to the store. Once it runs it stops before each call of the
// store until it has its turn. It lives in a bubble of synctest.
type process struct {
	keystore.Store
	mu      sync.Mutex
	runs    bool
	dead    bool
	done    bool
	waiting []chan verdict
}

// start runs what the process does, up to its first call of the store.
func (p *process) start(do func()) {
	p.mu.Lock()
	p.runs = true
	p.mu.Unlock()
	go func() {
		do()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.runs, p.done = false, true
	}()
	synctest.Wait()
}

// step lets the process make its next call. It reports false if it is over.
func (p *process) step(v verdict) bool {
	p.mu.Lock()
	if len(p.waiting) == 0 {
		p.mu.Unlock()
		return false
	}
	next := p.waiting[0]
	p.waiting = p.waiting[1:]
	all := p.waiting
	if v != goes {
		p.dead, p.waiting = true, nil
	}
	p.mu.Unlock()
	next <- v
	if v != goes {
		for _, w := range all { // calls side by side
			w <- diesBefore
		}
	}
	synctest.Wait()
	return true
}

// steps lets the process make n calls, and finish makes all that are left.
func (p *process) steps(n int) (made int) {
	for made < n && p.step(goes) {
		made++
	}
	return made
}

func (p *process) finish() int { return p.steps(1 << 20) }

// turn waits for the turn of a call and says what becomes of it.
func (p *process) turn(ctx context.Context) (after bool, err error) {
	p.mu.Lock()
	switch {
	case p.dead:
		p.mu.Unlock()
		return false, errKilled
	case !p.runs:
		p.mu.Unlock()
		return false, ctx.Err()
	}
	mine := make(chan verdict)
	p.waiting = append(p.waiting, mine)
	p.mu.Unlock()
	switch <-mine {
	case diesBefore:
		return false, errKilled
	case diesAfter:
		return true, nil
	}
	return false, ctx.Err()
}

func (p *process) Get(ctx context.Context, name string) (keystore.Item, error) {
	after, err := p.turn(ctx)
	if err != nil {
		return keystore.Item{}, err
	}
	item, err := p.Store.Get(ctx, name)
	if after {
		return keystore.Item{}, errKilled
	}
	return item, err
}

func (p *process) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	after, err := p.turn(ctx)
	if err != nil {
		return "", err
	}
	version, err := p.Store.Put(ctx, name, old, value)
	if after {
		return "", errKilled
	}
	return version, err
}

func (p *process) List(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	return func(yield func(keystore.Item, error) bool) {
		late, err := p.turn(ctx)
		if late {
			err = errKilled
		}
		if err != nil {
			yield(keystore.Item{}, err)
			return
		}
		p.Store.List(ctx, prefix, after)(yield)
	}
}
