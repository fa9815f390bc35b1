package keystore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
)

// ErrDiffers is matched by a DiffersError.
var ErrDiffers = errors.New("keystore: the copy differs")

// DiffersError is Copy's answer where an item has another value in the one store than in
// the other, or is in the one alone.
type DiffersError struct{ Name string }

// Error tells the name.
func (e *DiffersError) Error() string {
	if e == nil {
		return ErrDiffers.Error()
	}
	return fmt.Sprintf("%v in %q", ErrDiffers, e.Name)
}

// Is makes it match ErrDiffers.
func (*DiffersError) Is(target error) bool { return target == ErrDiffers }

// CopyOptions are what may be chosen about Copy. Nil and the zero CopyOptions are the
// defaults.
type CopyOptions struct {
	// Replace has items of the destination replaced that have another value in the source:
	// after a first copy was made while the source was in use, say. By default they are
	// refused with a DiffersError.
	Replace bool

	// Writers is how many items are written at a time. 0 is 64.
	Writers int

	// Progress is told of every item that was dealt with, in any order, by one goroutine at
	// a time. Nil tells nobody.
	Progress func(CopyProgress)
}

// CopyProgress is how far a Copy has come.
type CopyProgress struct {
	Name     string // of the item that was just dealt with
	Written  int    // items that were created or replaced
	Present  int    // items that were there already, as they should be
	Verified int    // items that were compared when all had been written
}

// Copy copies all items of a store to another, and then reads both and compares them:
// when it returns nil they hold the same. Versions are each store's own.
//
// A Copy that failed or was stopped can be made again, and goes on where it was: items
// that are there already are compared, not written. The source is only read. Nobody may
// write to it between the beginning of the last Copy and the end of its use, and nobody to
// the destination before that; else a DiffersError tells of it, or what was written after
// the comparison stays behind. A store that is nil is ErrClosed. Keys that are deleted in the one of two stores that are both
// in use are not deleted in the other: destroy the source.
func Copy(ctx context.Context, dst, src Store, opts *CopyOptions) (CopyProgress, error) {
	if dst == nil || src == nil {
		return CopyProgress{}, fmt.Errorf("%w: Copy needs two stores", ErrClosed)
	}
	c := &copying{dst: dst, src: src}
	if opts != nil {
		c.CopyOptions = *opts
	}
	if c.Writers <= 0 {
		c.Writers = 64
	}
	err := c.write(ctx)
	if err == nil {
		err = c.verify(ctx)
	}
	return c.soFar, err
}

type copying struct {
	CopyOptions
	dst, src Store

	mu    sync.Mutex
	soFar CopyProgress
}

// write writes what is missing. The first error stops it.
func (c *copying) write(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	items := make(chan Item)
	var all sync.WaitGroup
	for range c.Writers {
		all.Go(func() {
			for item := range items {
				if err := c.put(ctx, item); err != nil {
					stop(err)
				}
			}
		})
	}
	for item, err := range c.src.List(ctx, "", "") {
		if err != nil {
			stop(err)
			break
		}
		select {
		case items <- item:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(items)
	all.Wait()
	return context.Cause(ctx)
}

// put writes an item, unless it is there.
func (c *copying) put(ctx context.Context, item Item) error {
	for old := Version(""); ; {
		_, err := c.dst.Put(ctx, item.Name, old, item.Value)
		if err == nil {
			c.tell(item.Name, func(p *CopyProgress) { p.Written++ })
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
		there, err := c.dst.Get(ctx, item.Name)
		switch {
		case err != nil:
			return err
		case bytes.Equal(there.Value, item.Value):
			c.tell(item.Name, func(p *CopyProgress) { p.Present++ })
			return nil
		case !c.Replace:
			return &DiffersError{item.Name}
		}
		old = there.Version
	}
}

// verify goes through both stores side by side.
func (c *copying) verify(ctx context.Context) error {
	next, stop := iter.Pull2(c.dst.List(ctx, "", ""))
	defer stop()
	for want, err := range c.src.List(ctx, "", "") {
		if err != nil {
			return err
		}
		got, err, ok := next()
		switch {
		case err != nil:
			return err
		case !ok || got.Name > want.Name:
			return &DiffersError{want.Name}
		case got.Name < want.Name || !bytes.Equal(got.Value, want.Value):
			return &DiffersError{got.Name}
		}
		c.tell(want.Name, func(p *CopyProgress) { p.Verified++ })
	}
	if more, err, ok := next(); err != nil || ok {
		if err != nil {
			return err
		}
		return &DiffersError{more.Name}
	}
	return nil
}

func (c *copying) tell(name string, count func(*CopyProgress)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.soFar.Name = name
	count(&c.soFar)
	if c.Progress != nil {
		c.Progress(c.soFar)
	}
}
