package providertest

import (
	"bytes"
	"fmt"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/provider"
)

func encryptionCases() []promise {
	return []promise{{
		Name: "round trip",
		Why:  "Decrypt gives back what Encrypt was given, for every length from 0 to 8 KiB, whatever the associated data.",
		Run:  roundTrip,
	}, {
		Name: "dst is appended to",
		Why:  "Encrypt and Decrypt append to dst, like append: callers put headers in front and give room for the result.",
		Run:  appendsToDst,
	}, {
		Name: "inputs are unchanged",
		Why:  "Inputs belong to the caller, with what lies in their spare capacity: it may be another message.",
		Run:  inputsUnchanged,
	}, {
		Name: "nothing is kept",
		Why:  "Callers reuse and clear their buffers, results included; a key that looks at them later is another key by then.",
		Run:  nothingKept,
	}, {
		Name: "no ciphertext twice",
		Why:  "The key chooses nonces and never repeats one: with AES-GCM, two messages under one nonce give the key away.",
		Run:  noCiphertextTwice,
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
			plaintext, ad := suite.Random(n), suite.Random(nAD)
			ciphertext := f.encrypt(k, plaintext, ad)
			f.opens(k, ciphertext, ad, plaintext, fmt.Sprintf("plaintext of %d bytes, associated data of %d", n, nAD))
		}
	}
}

func appendsToDst(f *fixture) {
	k := f.newKey()
	plaintext, ad, prefix := suite.Random(100), suite.Random(10), suite.Random(37)
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
		if !bytes.Equal(opened, suite.Join(prefix, plaintext)) || !bytes.Equal(dst, prefix) {
			f.Fatalf("Decrypt to a dst with %d bytes to spare: the result is not dst and the plaintext", spare)
		}

		opened, err = k.Decrypt(f.Context(), dst, suite.Flip(ciphertext, 0), ad)
		if err == nil || opened != nil || !bytes.Equal(dst, prefix) {
			f.Fatalf("a refused Decrypt returned %d bytes and error %v, or changed what was in dst", len(opened), err)
		}
	}
}

func inputsUnchanged(f *fixture) {
	id := f.newID()
	material := suite.Guard(f.generate(id))
	k := f.open(id, material.Slice)
	material.Check(f, "Open: material")

	for _, n := range []int{0, 1, 32, 100} {
		plaintext, ad := suite.Guard(suite.Random(n)), suite.Guard(suite.Random(n/2))
		ciphertext := suite.Guard(f.encrypt(k, plaintext.Slice, ad.Slice))
		plaintext.Check(f, "Encrypt: plaintext")
		ad.Check(f, "Encrypt: associated data")

		f.opens(k, ciphertext.Slice, ad.Slice, plaintext.Slice, "guarded inputs")
		ciphertext.Check(f, "Decrypt: ciphertext")
		ad.Check(f, "Decrypt: associated data")

		damaged := suite.Guard(suite.Flip(ciphertext.Slice, 0))
		f.refused(k, damaged.Slice, ad.Slice, "a flipped bit")
		damaged.Check(f, "a refused Decrypt: ciphertext")
		ad.Check(f, "a refused Decrypt: associated data")
	}
	if err := f.p.Destroy(f.Context(), id, material.Slice); err != nil {
		f.Errorf("Destroy: %v", err)
	}
	material.Check(f, "Destroy: material")
}

func nothingKept(f *fixture) {
	id := f.newID()
	made := f.generate(id)
	material := bytes.Clone(made)
	suite.Scribble(made) // the provider may not rely on what it returned
	k := f.open(id, material)
	suite.Scribble(material)

	plaintext, ad := suite.Random(64), suite.Random(16)
	plaintextCopy, adCopy := bytes.Clone(plaintext), bytes.Clone(ad)
	ciphertext := f.encrypt(k, plaintextCopy, adCopy)
	before := bytes.Clone(ciphertext)
	suite.Scribble(plaintextCopy)
	suite.Scribble(adCopy)
	if !bytes.Equal(ciphertext, before) {
		f.Fatalf("a ciphertext changed with the inputs of its Encrypt")
	}
	suite.Scribble(f.encrypt(k, plaintext, ad))
	f.opens(k, before, ad, plaintext, "after all buffers were written over")

	first := decrypted(f, k, ciphertext, ad)
	suite.Scribble(ciphertext)
	if !bytes.Equal(first, plaintext) {
		f.Fatalf("a plaintext changed with the ciphertext that it came from")
	}
	suite.Scribble(first)
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

func noCiphertextTwice(f *fixture) {
	const n = 10_000
	k := f.newKey()
	plaintext, ad := suite.Random(32), suite.Random(16)
	seen := make(map[string]bool, n)
	for i := range n {
		ciphertext := string(f.encrypt(k, plaintext, ad))
		if seen[ciphertext] {
			f.Fatalf("encryption %d of one message gave a ciphertext that was there before", i+1)
		}
		seen[ciphertext] = true
	}
}
