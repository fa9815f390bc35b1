package keystore

import (
	"context"
	"errors"
)

// ErrGap is the answer of Changes when the Feed no longer reaches back to the position
// that was asked for: anything may have changed. The head that comes with it is good.
var ErrGap = errors.New("keystore: the feed does not reach back that far")

// Cursor is a position in a Feed, of which only the order counts. Positions grow; a position that went back means that the store lost writes (a failover, say).
type Cursor uint64

// Feed is an ability that a Store may have beyond its contract: it can tell which
// values were replaced, so that a process may keep what it read. Segment is a first
// path segment with its slash, like "key/"; it is empty for names without one. Creating
// an item is no replacement and moves nothing: a reader does not keep what was absent.
type Feed interface {
	// Changes returns the names under segment whose value was replaced after the
	// position, in any order and perhaps more than once, and the newest position.
	// A Put that returned is in the Changes of every call that begins later, and what
	// Changes tells can be read. Where nothing changed this must be cheap. ErrGap: see
	// there; it is also the answer to a position that is yet to come.
	Changes(ctx context.Context, segment string, after Cursor) (names []string, head Cursor, err error)
}

// Local is the Feed of a Store that one process owns, every Put going through this
// value, so that its newest position can be read from memory before every use.
type Local interface {
	Feed

	// Head returns a function that tells the newest position of segment. The function
	// takes no lock, does no I/O and may be kept for the life of the Store. When the Store
	// is closed the position moves, so that nobody goes on with what was read.
	Head(segment string) func() Cursor
}

// Watcher is the ability of a Store with a Feed that others change too to tell soon that
// it has moved. It hurries those who look at the Feed anyway, and is no reason not to look.
type Watcher interface {
	// Watch calls moved with a segment soon after a value under it was replaced. It may
	// miss replacements, and call for none. It returns when ctx ends, or with the reason
	// why it cannot go on; the caller may watch again later. Where the Store has nothing to
	// watch, that is errors.ErrUnsupported, and will be so again.
	Watch(ctx context.Context, moved func(segment string)) error
}

// FeedOf returns the Feed of s. Like LocalOf it looks through wrappers that have a
// method Unwrap() Store.
func FeedOf(s Store) (Feed, bool) { return ability[Feed](s) }

// LocalOf returns the Local of s, if one process owns it.
func LocalOf(s Store) (Local, bool) { return ability[Local](s) }

// WatcherOf returns the Watcher of s, as FeedOf does.
func WatcherOf(s Store) (Watcher, bool) { return ability[Watcher](s) }

func ability[T any](s Store) (T, bool) {
	for s != nil {
		if t, ok := s.(T); ok {
			return t, true
		}
		w, ok := s.(interface{ Unwrap() Store })
		if !ok {
			break
		}
		s = w.Unwrap()
	}
	var none T
	return none, false
}
