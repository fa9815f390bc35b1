package suite

import (
	"bytes"
	"crypto/rand"
)

// Random returns n random bytes.
func Random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: without randomness it ends the program
	return b
}

// Flip returns a copy of b with one bit inverted. Bit 0 is the highest bit of the first byte.
func Flip(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 0x80 >> (bit % 8)
	return b
}

// Join returns the parts, one after the other, in a new slice.
func Join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// Scribble changes every byte of b.
func Scribble(b []byte) {
	for i := range b {
		b[i] ^= 0xa5
	}
}

// Guarded is a slice with bytes before it and in its spare capacity. Check tells whether a call
// that was given Slice left all of them as they were.
type Guarded struct {
	Slice         []byte
	whole, before []byte
}

// Guard returns a Guarded copy of b.
func Guard(b []byte) *Guarded {
	g := &Guarded{whole: Join(Random(64), b, Random(64))}
	g.before = bytes.Clone(g.whole)
	g.Slice = g.whole[64 : 64+len(b)]
	return g
}

// Check fails t where a byte has changed. The failure names the slice by what.
func (g *Guarded) Check(t TB, what string) {
	t.Helper()
	if !bytes.Equal(g.whole, g.before) {
		t.Errorf("%s changed, or its spare capacity", what)
	}
}
