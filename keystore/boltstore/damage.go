package boltstore

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// ErrDamaged is the answer where the file is not what was written to it: it was cut off,
// say, or a page was overwritten. What can still be read is read; after it was the answer
// of a Put, nothing is written before the file is opened again. Restore a backup.
//
// Not all damage is found: bbolt has no checksums over its pages, and a value that was
// changed is returned as it is.
var ErrDamaged = errors.New("boltstore: the file is damaged")

// guarded runs f. Bbolt panics when it finds a page that it did not write, and the file
// is mapped into memory, where reading past its end is a fault: both become an ErrDamaged
// that is panicked.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case runtime.Error:
			err = panicked{p.Error()}
		default: // after the first colon there may be bytes of a page
			what, _, _ := strings.Cut(fmt.Sprint(p), ":")
			err = panicked{what}
		}
	}()
	return f()
}

// panicked is an ErrDamaged after which bbolt may hold its locks for ever.
type panicked struct{ what string }

func (p panicked) Error() string { return ErrDamaged.Error() + ": " + p.what }
func (p panicked) Unwrap() error { return ErrDamaged }
