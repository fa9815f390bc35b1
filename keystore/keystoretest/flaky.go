package keystoretest

import (
	"context"
	"iter"
	"strconv"
	"sync"

	"github.com/keyhold/kms/keystore"
)

// Flaky is a Store that fails on demand: it passes every call to another Store, and asks
// its hooks first. A hook may be set, changed and taken away (nil) at any time. Hooks run
// on the goroutine of the call and hold no lock, so they may use any Store, the one below
// included.
//
// What Flaky does to a Put has two halves: whether it is made, and what the caller is
// told. All four combinations happen in life:
//
//	true,  nil   as if Flaky were not there
//	false, err   refused: nothing was written
//	true,  err   the answer was lost: written, and the caller does not know
//	false, nil   a store that lies: not written, and the caller is told that it was
type Flaky struct {
	store keystore.Store

	mu     sync.Mutex
	before func(Call)
	onGet  func(name string) error
	onPut  func(name string) (apply bool, err error)
	onList func(name string) error
	next   []fault
	calls  Calls
	lies   int
}

var _ keystore.Store = (*Flaky)(nil)

// A Method is one of the methods of a Store.
type Method string

// The methods of a Store.
const (
	Get  Method = "Get"
	Put  Method = "Put"
	List Method = "List"
)

// Call is a call that is about to be made.
type Call struct {
	Method Method
	Name   string // the prefix, for List
	N      int    // how many calls there were, this one included
}

// Calls counts calls by method. A List is one call, made when its loop begins.
type Calls struct{ Get, Put, List int }

type fault struct {
	method Method
	apply  bool
	err    error
}

// NewFlaky returns a Flaky without hooks in front of store.
func NewFlaky(store keystore.Store) *Flaky { return &Flaky{store: store} }

// Unwrap returns the Store below, through which its abilities are found.
func (f *Flaky) Unwrap() keystore.Store { return f.store }

// Calls tells how often each method was called, whatever became of the calls.
func (f *Flaky) Calls() Calls {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Before sets a hook that runs before every call. A test lets somebody else be faster in
// it, or ends the process at the n-th call. A call of this Flaky that the hook makes is a
// call too: it has the next N and runs the hook.
func (f *Flaky) Before(hook func(Call)) { f.set(func() { f.before = hook }) }

// OnGet sets the hook of Get. A Get for which it returns an error returns that error.
func (f *Flaky) OnGet(hook func(name string) error) { f.set(func() { f.onGet = hook }) }

// OnPut sets the hook of Put. See Flaky for what it returns.
func (f *Flaky) OnPut(hook func(name string) (apply bool, err error)) {
	f.set(func() { f.onPut = hook })
}

// OnList sets the hook of List. It is asked with the prefix when a loop begins, and then
// with the name of every item before that is yielded. Its error ends the list.
func (f *Flaky) OnList(hook func(name string) error) { f.set(func() { f.onList = hook }) }

// FailNext makes one call of method fail, the next that no earlier FailNext is for. It
// comes before the hooks of the method. Apply means something for Put alone.
func (f *Flaky) FailNext(method Method, apply bool, err error) {
	f.set(func() { f.next = append(f.next, fault{method, apply, err}) })
}

// FailPuts is FailNext for the next n calls of Put.
func (f *Flaky) FailPuts(n int, apply bool, err error) {
	for range n {
		f.FailNext(Put, apply, err)
	}
}

// Get implements keystore.Store.
func (f *Flaky) Get(ctx context.Context, name string) (keystore.Item, error) {
	if _, err := f.verdict(Get, name); err != nil {
		return keystore.Item{}, err
	}
	if f.store == nil {
		return keystore.Item{}, keystore.ErrClosed
	}
	return f.store.Get(ctx, name)
}

// Put implements keystore.Store.
func (f *Flaky) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	apply, err := f.verdict(Put, name)
	if !apply {
		if err != nil {
			return "", err
		}
		return f.lie(), nil
	}
	if f.store == nil {
		return "", keystore.ErrClosed
	}
	version, applied := f.store.Put(ctx, name, old, value)
	if err != nil {
		return "", err
	}
	return version, applied
}

// List implements keystore.Store.
func (f *Flaky) List(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	return func(yield func(keystore.Item, error) bool) {
		if _, err := f.verdict(List, prefix); err != nil {
			yield(keystore.Item{}, err)
			return
		}
		if f.store == nil {
			yield(keystore.Item{}, keystore.ErrClosed)
			return
		}
		for item, err := range f.store.List(ctx, prefix, after) {
			if hook := f.listHook(); err == nil && hook != nil {
				if err := hook(item.Name); err != nil {
					yield(keystore.Item{}, err)
					return
				}
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// lie returns a version that no store gave.
func (f *Flaky) lie() keystore.Version {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lies++
	return keystore.Version("lie-" + strconv.Itoa(f.lies))
}

func (f *Flaky) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *Flaky) listHook() func(string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.onList
}

// verdict counts a call, runs the hook before it, and tells what is to become of it.
func (f *Flaky) verdict(method Method, name string) (apply bool, err error) {
	f.mu.Lock()
	switch method {
	case Get:
		f.calls.Get++
	case Put:
		f.calls.Put++
	case List:
		f.calls.List++
	}
	call := Call{Method: method, Name: name, N: f.calls.Get + f.calls.Put + f.calls.List}
	before := f.before
	f.mu.Unlock()
	if before != nil {
		before(call)
	}

	f.mu.Lock() // what before has set is for this call already
	onGet, onPut, onList := f.onGet, f.onPut, f.onList
	for i, next := range f.next {
		if next.method == method {
			f.next = append(f.next[:i:i], f.next[i+1:]...)
			f.mu.Unlock()
			return next.apply, next.err
		}
	}
	f.mu.Unlock()
	switch {
	case method == Get && onGet != nil:
		return true, onGet(name)
	case method == Put && onPut != nil:
		return onPut(name)
	case method == List && onList != nil:
		return true, onList(name)
	default:
		return true, nil
	}
}
