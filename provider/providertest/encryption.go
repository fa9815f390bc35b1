package providertest

import (
	"bytes"
	"fmt"

	"github.com/keyhold/kms/provider"
)

func encryptionCases() []promise {
	return []promise{{
		name: "round trip",
		why:  "Decrypt gives back what Encrypt was given, for every length from 0 to 8 KiB, whatever the associated data.",
		run:  roundTrip,
	}, {
		name: "dst is appended to",
		why:  "Encrypt and Decrypt append to dst, like append: callers put headers in front and give room for the result.",
		run:  appendsToDst,
	}, {
		name: "inputs are unchanged",
		why:  "Inputs belong to the caller, with what lies in their spare capacity: it may be another message.",
		run:  inputsUnchanged,
	}, {
		name: "nothing is kept",
		why:  "Callers reuse and clear their buffers, results included; a key that looks at them later is another key by then.",
		run:  nothingKept,
	}, {
		name: "no ciphertext twice",
		why:  "The key chooses nonces and never repeats one: with AES-GCM, two messages under one nonce give the key away.",
		run:  noCiphertextTwice,
	}}
}

func roundTrip(f *fixture) {
	k := f.newKey()
	lengths := []int{0, 1, 2}
	for n := 16; n <= 8192; n *= 2 {
		lengths = append(lengths, n-1, n, n+1)
	}
	lengths = lengths[:len(lengths)-1] // 8193 is more than a provider must take
	for _, n := range lengths {
		for _, nAD := range []int{0, 1, 16, 33, 300} {
			plaintext, ad := random(n), random(nAD)
			ciphertext := f.encrypt(k, plaintext, ad)
			f.opens(k, ciphertext, ad, plaintext, fmt.Sprintf("plaintext of %d bytes, associated data of %d", n, nAD))
		}
	}
}

func appendsToDst(f *fixture) {
	k := f.newKey()
	plaintext, ad, prefix := random(100), random(10), random(37)
	for _, spare := range []int{0, 1, 100, 1000} {
		dst := append(make([]byte, 0, len(prefix)+spare), prefix...)
		sealed, err := k.Encrypt(f.Context(), dst, plaintext, ad)
		if err != nil {
			f.Fatalf("Encrypt to a dst with %d bytes to spare: %v", spare, err)
		}
		if !bytes.HasPrefix(sealed, prefix) || !bytes.Equal(dst, prefix) {
			f.Fatalf("Encrypt to a dst with %d bytes to spare: what was in dst is no longer there", spare)
		}
		ciphertext := bytes.Clone(sealed[len(prefix):])
		f.opens(k, ciphertext, ad, plaintext, "what Encrypt appended")

		opened, err := k.Decrypt(f.Context(), dst, ciphertext, ad)
		if err != nil {
			f.Fatalf("Decrypt to a dst with %d bytes to spare: %v", spare, err)
		}
		if !bytes.Equal(opened, join(prefix, plaintext)) || !bytes.Equal(dst, prefix) {
			f.Fatalf("Decrypt to a dst with %d bytes to spare: the result is not dst and the plaintext", spare)
		}

		opened, err = k.Decrypt(f.Context(), dst, flip(ciphertext, 0), ad)
		if err == nil || opened != nil || !bytes.Equal(dst, prefix) {
			f.Fatalf("a refused Decrypt returned %d bytes and error %v, or changed what was in dst", len(opened), err)
		}
	}
}

// guarded is a slice with something before it and in its spare capacity.
type guarded struct {
	whole, before, slice []byte
}

func guard(b []byte) *guarded {
	g := &guarded{whole: join(random(64), b, random(64))}
	g.before = bytes.Clone(g.whole)
	g.slice = g.whole[64 : 64+len(b)]
	return g
}

func (g *guarded) check(f *fixture, what string) {
	f.Helper()
	if !bytes.Equal(g.whole, g.before) {
		f.Errorf("%s changed, or its spare capacity", what)
	}
}

func inputsUnchanged(f *fixture) {
	id := f.newID()
	material := guard(f.generate(id))
	k := f.open(id, material.slice)
	material.check(f, "Open: material")

	for _, n := range []int{0, 1, 32, 100} {
		plaintext, ad := guard(random(n)), guard(random(n/2))
		ciphertext := guard(f.encrypt(k, plaintext.slice, ad.slice))
		plaintext.check(f, "Encrypt: plaintext")
		ad.check(f, "Encrypt: associated data")

		f.opens(k, ciphertext.slice, ad.slice, plaintext.slice, "guarded inputs")
		ciphertext.check(f, "Decrypt: ciphertext")
		ad.check(f, "Decrypt: associated data")

		damaged := guard(flip(ciphertext.slice, 0))
		f.refused(k, damaged.slice, ad.slice, "a flipped bit")
		damaged.check(f, "a refused Decrypt: ciphertext")
		ad.check(f, "a refused Decrypt: associated data")
	}
	if err := f.p.Destroy(f.Context(), id, material.slice); err != nil {
		f.Errorf("Destroy: %v", err)
	}
	material.check(f, "Destroy: material")
}

func nothingKept(f *fixture) {
	id := f.newID()
	made := f.generate(id)
	material := bytes.Clone(made)
	scribble(made) // the provider may not rely on what it returned
	k := f.open(id, material)
	scribble(material)

	plaintext, ad := random(64), random(16)
	plaintextCopy, adCopy := bytes.Clone(plaintext), bytes.Clone(ad)
	ciphertext := f.encrypt(k, plaintextCopy, adCopy)
	before := bytes.Clone(ciphertext)
	scribble(plaintextCopy)
	scribble(adCopy)
	if !bytes.Equal(ciphertext, before) {
		f.Fatalf("a ciphertext changed with the inputs of its Encrypt")
	}
	scribble(f.encrypt(k, plaintext, ad))
	f.opens(k, before, ad, plaintext, "after all buffers were written over")

	first := decrypted(f, k, ciphertext, ad)
	scribble(ciphertext)
	if !bytes.Equal(first, plaintext) {
		f.Fatalf("a plaintext changed with the ciphertext that it came from")
	}
	scribble(first)
	f.opens(k, before, ad, plaintext, "after an earlier result was written over")
}

func decrypted(f *fixture, k provider.Key, ciphertext, ad []byte) []byte {
	f.Helper()
	plaintext, err := k.Decrypt(f.Context(), nil, ciphertext, ad)
	if err != nil {
		f.Fatalf("Decrypt: %v", err)
	}
	return plaintext
}

func scribble(b []byte) {
	for i := range b {
		b[i] ^= 0xa5
	}
}

func noCiphertextTwice(f *fixture) {
	const n = 10_000
	k := f.newKey()
	plaintext, ad := random(32), random(16)
	seen := make(map[string]bool, n)
	for i := range n {
		ciphertext := string(f.encrypt(k, plaintext, ad))
		if seen[ciphertext] {
			f.Fatalf("encryption %d of one message gave a ciphertext that was there before", i+1)
		}
		seen[ciphertext] = true
	}
}
