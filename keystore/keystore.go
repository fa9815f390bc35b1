// Package keystore is the contract between the key management service and the
// place where it keeps its records, for those who write a driver. Programs that
// use keys import package kms and pass it a Store.
//
// A Store holds opaque values under names and can do one thing with them: a
// compare-and-swap. It knows nothing of keys, of time or of secrets: values are
// sealed and authenticated before they come here. Memory, in this package, is for
// tests; boltstore keeps one file. Package keystoretest proves a driver.
package keystore

import (
	"context"
	"errors"
	"iter"
)

// Bounds that a caller keeps and a driver may rely on.
const (
	// MaxName is the longest name, in bytes. A name has at least one byte, and every
	// byte is one of a-z A-Z 0-9 and / _ - . : @
	MaxName = 512

	// MaxValue is the largest value, in bytes: 1 MiB. A value may be empty.
	MaxValue = 1 << 20
)

// What a Store answers. A driver may wrap them; callers match with errors.Is.
var (
	// ErrNotFound is Get's answer for a name that was never put.
	ErrNotFound = errors.New("keystore: no such item")

	// ErrConflict is Put's answer when the item is not at the version that the caller
	// named. Nothing was written.
	ErrConflict = errors.New("keystore: the item is at another version")

	// ErrClosed is the answer of a Store that was closed or never opened.
	ErrClosed = errors.New("keystore: the store is closed")
)

// Version names one value that an item once had. A Store makes versions and callers
// only compare and return them. The empty Version means: no such item. A Store never
// gives one name the same Version twice, not even for equal values.
type Version string

// Item is a value as it stood in a Store. The receiver owns Value.
type Item struct {
	Name    string
	Value   []byte
	Version Version
}

// Store keeps items. All methods may be called by many goroutines at once and, where
// the driver says so, by many processes.
//
// Every name is linearizable by itself: a Get that begins after a Put returned sees
// that Put or a later one. Nothing is promised across names, and nothing needs it:
// one call of the service changes one record with one Put. There is no delete: what
// is gone leaves a value that says so, and its name is not used again.
//
// A Store keeps no reference to a value it was given and hands out none that it
// keeps. It may assume that names and sizes are within the bounds of this package.
// When ctx ends, a method returns soon with an error that matches ctx's.
type Store interface {
	// Get returns the item called name, or ErrNotFound.
	Get(ctx context.Context, name string) (Item, error)

	// Put replaces the value of name if the item is at version old, and returns the
	// new version. With the empty old it creates the item if there is none. Otherwise
	// it returns ErrConflict and has written nothing. When Put returns nil the value
	// is durable. After any other error the outcome is unknown: the value may have
	// been written or may yet be.
	Put(ctx context.Context, name string, old Version, value []byte) (Version, error)

	// List yields the items whose name begins with prefix and sorts after the name
	// after, ascending by the bytes of the name; with the empty after, from the first.
	// Every item that existed when the loop began is yielded, in some state that it
	// had since. Of those that are created meanwhile none is yielded that sorts after
	// the last that existed then, so that a loop ends though its body adds items
	// behind; one that sorts before it may be. The loop may call the Store. An error is
	// yielded once, with the zero Item, and ends the list.
	List(ctx context.Context, prefix, after string) iter.Seq2[Item, error]
}
