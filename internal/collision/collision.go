// Package collision makes AES-GCM collisions for tests: one ciphertext with one tag that is valid
// under two keys. For one key, the tag is E(J0) plus a polynomial in H over GF(2^128) whose
// coefficients are the blocks of associated data and ciphertext. Setting the tags of two keys equal
// is one linear equation; one block of ciphertext is kept free to solve it.
package collision

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"testing"

	"github.com/tink-crypto/tink-go/v2/prf/subtle"
)

// Make returns body || tag, which AES-GCM opens under both keys with that iv of 12 bytes and that
// associated data. The body is whole blocks and is kept but for the block free.
func Make(t testing.TB, keys [2][]byte, iv, ad, body []byte, free int) []byte {
	t.Helper()
	if len(body)%16 != 0 {
		t.Fatal("collision: the body is no whole blocks")
	}
	body = bytes.Clone(body)
	copy(body[free*16:], make([]byte, 16))

	// The tags without the free block, and by which factor that block enters each.
	var tags, factors [2]element
	for i, key := range keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		var h, j0 [16]byte
		block.Encrypt(h[:], h[:])
		copy(j0[:], iv)
		j0[15] = 1
		block.Encrypt(j0[:], j0[:])

		tags[i] = ghash(loadElement(h[:]), ad, body).plus(loadElement(j0[:]))
		factors[i] = loadElement(h[:]).power(len(body)/16 - free + 1)
	}
	solution := tags[0].plus(tags[1]).times(factors[0].plus(factors[1]).inverse())
	solution.store(body[free*16:])
	tag := tags[0].plus(solution.times(factors[0]))
	if tag != tags[1].plus(solution.times(factors[1])) {
		t.Fatal("collision: the equation is not solved")
	}
	return append(body, tag.bytes()...)
}

// MessageKey is the key that XAES-256-GCM derives for a salt, by Tink's CMAC.
func MessageKey(t testing.TB, key, salt []byte) []byte {
	t.Helper()
	prf, err := subtle.NewAESCMACPRF(key)
	if err != nil {
		t.Fatal(err)
	}
	var derived []byte
	for i := byte(1); i <= 2; i++ {
		half, err := prf.ComputePRF(append([]byte{0, i, 'X', 0}, salt...), 16)
		if err != nil {
			t.Fatal(err)
		}
		derived = append(derived, half...)
	}
	return derived
}

// KeyStream is what AES-GCM adds to the first n bytes of a plaintext.
func KeyStream(t testing.TB, key, iv []byte, n int) (stream []byte) {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	counter := append(append([]byte(nil), iv...), 0, 0, 0, 1)
	for len(stream) < n {
		counter[15]++
		var out [16]byte
		block.Encrypt(out[:], counter)
		stream = append(stream, out[:]...)
	}
	return stream[:n]
}

// ghash is GHASH (NIST SP 800-38D, 6.4) of associated data and of whole blocks.
func ghash(h element, ad, body []byte) (y element) {
	whole := append(bytes.Clone(ad), make([]byte, -len(ad)&15)...)
	for _, part := range [][]byte{whole, body} {
		for at := 0; at < len(part); at += 16 {
			y = y.plus(loadElement(part[at:])).times(h)
		}
	}
	return y.plus(element{uint64(len(ad)) * 8, uint64(len(body)) * 8}).times(h)
}

// element is an element of GF(2^128) in GCM's order of bits: the first bit is that of x^0.
type element struct{ hi, lo uint64 }

func loadElement(b []byte) element {
	return element{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (a element) store(b []byte) {
	binary.BigEndian.PutUint64(b, a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
}

func (a element) bytes() []byte { b := make([]byte, 16); a.store(b); return b }

func (a element) plus(b element) element { return element{a.hi ^ b.hi, a.lo ^ b.lo} }

func (a element) times(b element) (z element) {
	for i := range 128 {
		word := a.hi
		if i >= 64 {
			word = a.lo
		}
		if word>>(63-i%64)&1 == 1 {
			z = z.plus(b)
		}
		carry := b.lo & 1
		b.lo = b.lo>>1 | b.hi<<63
		b.hi >>= 1
		if carry == 1 {
			b.hi ^= 0xe1 << 56
		}
	}
	return z
}

func (a element) power(n int) element {
	z := element{hi: 1 << 63} // one
	for range n {
		z = z.times(a)
	}
	return z
}

// inverse is a^(2^128-2).
func (a element) inverse() element {
	z := element{hi: 1 << 63}
	for range 127 {
		a = a.times(a)
		z = z.times(a)
	}
	return z
}
