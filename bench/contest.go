package main

import (
	"context"
	"runtime"
)

// A contestant does what is measured, with key number i of those that it was made with. It
// panics where something does not work.
type contestant struct {
	name    string
	what    string // for whom it stands
	dataKey func(i int)
	encrypt func(i int, plaintext []byte)
	opener  func(i int, plaintext []byte) func() // opens one ciphertext of it, each time
}

// newContestants makes all of them, the first of which is this module, with that many keys;
// those that can hold several.
func newContestants(ctx context.Context, keys int) []*contestant {
	all := append(keyhold(ctx, keys), floors(keys)...)
	if keys == 1 {
		all = append(all, tinks()...)
		all = append(all, gocloud(ctx), wrapping(ctx), transit(ctx))
	}
	return all
}

// must is for what cannot fail but by a mistake of this program.
func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// keep stands for a caller that does something with a result.
//
//go:noinline
func keep(b []byte) { runtime.KeepAlive(b) }
