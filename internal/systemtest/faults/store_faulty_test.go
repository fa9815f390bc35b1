package faults_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"

	"github.com/keyhold/kms/keystore"
)

// A mishap is how a call of the store goes wrong.
type mishap string

const (
	failsBefore  mishap = "before"    // nothing was done, and an error says so
	failsAfter   mishap = "after"     // it was done, and the answer is an error
	hangs        mishap = "timeout"   // until the context ends
	cutOff       mishap = "cancelled" // the context ends in the middle of a List
	answersWrong mishap = "wrong"     // with the value of another item
	answersStale mishap = "stale"     // with what stood there before the last write
	panics       mishap = "panic"
	outrun       mishap = "outrun" // somebody else has written first, and then the context ends
)

var mishaps = []mishap{failsBefore, failsAfter, hangs, cutOff, answersWrong, answersStale, panics, outrun}

var errLost = errors.New("connection reset")

// storesOwn is what the store panics with.
const storesOwn = "the store's own panic"

// A faulty store has one mishap, at the k-th call.
type faulty struct {
	keystore.Store
	last map[string]keystore.Item // what each item was before its last write; no Version: it was not

	mu     sync.Mutex
	mishap mishap // "": none to come
	at     int
	calls  int
	fits   bool // the mishap is one that its call may have
	cancel func()
}

// remembering passes all to a Store, and remembers what items were.
func remembering(s keystore.Store) *faulty {
	return &faulty{Store: s, last: map[string]keystore.Item{}}
}

func (s *faulty) Unwrap() keystore.Store { return s.Store }

func (s *faulty) arm(m mishap, at int, cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mishap, s.at, s.calls, s.fits, s.cancel = m, at, 0, false, cancel
}

// turn counts a call, and tells what is to go wrong with it, if that is among what may.
func (s *faulty) turn(may ...mishap) mishap {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls++; s.calls != s.at {
		return ""
	}
	for _, m := range may {
		if m == s.mishap {
			s.fits = true
			return m
		}
	}
	return ""
}

func (s *faulty) hang(ctx context.Context) error {
	s.cancel()
	<-ctx.Done()
	return ctx.Err()
}

// other is the value of another item of the kind.
func (s *faulty) other(name string) []byte {
	segment, _, _ := strings.Cut(name, "/")
	var value []byte
	for item, err := range s.Store.List(context.Background(), "", "") {
		if err == nil && item.Name != name && (value == nil || strings.HasPrefix(item.Name, segment)) {
			value = item.Value
		}
	}
	return value
}

func (s *faulty) Get(ctx context.Context, name string) (keystore.Item, error) {
	switch s.turn(failsBefore, failsAfter, hangs, answersWrong, answersStale, panics) {
	case failsBefore, failsAfter:
		return keystore.Item{}, errLost
	case hangs:
		return keystore.Item{}, s.hang(ctx)
	case panics:
		panic(storesOwn)
	case answersWrong:
		item, err := s.Store.Get(ctx, name)
		item.Value = s.other(name)
		return item, err
	case answersStale:
		was, ok := s.last[name]
		switch s.fits = ok; {
		case ok && was.Version == "":
			return keystore.Item{}, keystore.ErrNotFound
		case ok:
			return was, nil
		}
	}
	return s.Store.Get(ctx, name)
}

func (s *faulty) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	was, err := s.Store.Get(ctx, name)
	if err != nil {
		was = keystore.Item{Name: name}
	}
	switch s.turn(failsBefore, failsAfter, hangs, panics, outrun) {
	case failsBefore:
		return "", errLost
	case outrun:
		s.cancel()
		return "", keystore.ErrConflict
	case hangs:
		return "", s.hang(ctx)
	case panics:
		panic(storesOwn)
	case failsAfter:
		if _, err := s.Store.Put(ctx, name, old, value); err != nil {
			return "", err
		}
		return "", errLost
	}
	version, err := s.Store.Put(ctx, name, old, value)
	if err == nil {
		s.mu.Lock()
		s.last[name] = was
		s.mu.Unlock()
	}
	return version, err
}

func (s *faulty) List(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	return func(yield func(keystore.Item, error) bool) {
		now := s.turn(failsBefore, failsAfter, hangs, cutOff, answersWrong, answersStale, panics)
		switch now {
		case failsBefore:
			yield(keystore.Item{}, errLost)
			return
		case hangs:
			yield(keystore.Item{}, s.hang(ctx))
			return
		case panics:
			panic(storesOwn)
		}
		for item, err := range s.Store.List(ctx, prefix, after) {
			was, known := s.last[item.Name]
			switch {
			case now == answersWrong:
				item.Value = s.other(item.Name)
			case now == answersStale && known && was.Version == "":
				continue
			case now == answersStale && known:
				item = was
			}
			if !yield(item, err) {
				return
			}
			switch now {
			case cutOff:
				yield(keystore.Item{}, s.hang(ctx))
				return
			case failsAfter: // the first item
				yield(keystore.Item{}, errLost)
				return
			}
		}
	}
}
