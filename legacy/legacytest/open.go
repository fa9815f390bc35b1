package legacytest

import (
	"bytes"
	"errors"
	"maps"
	"sync"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/legacy"
)

func openCases() []promise {
	return []promise{{
		Name: "known ciphertexts open",
		Why:  "This is what a Source is for; and a ciphertext is of one version only.",
		Run:  knownOpen,
	}, {
		Name: "the bare source opens",
		Why:  "Keys that were taken over are opened by a Source that no longer has them.",
		Run:  bareOpens,
	}, {
		Name: "damaged material does not open",
		Why:  "Material that was cut or extended is a fault to be told at once, not a key that opens nothing.",
		Run:  damagedMaterial,
	}, {
		Name: "inputs are unchanged",
		Why:  "Inputs belong to the caller, with what lies in their spare capacity.",
		Run:  inputsUnchanged,
	}, {
		Name: "nothing is kept",
		Why:  "Callers clear and reuse their buffers, material and results included; an Opener that looks at them later is another key by then.",
		Run:  nothingKept,
	}, {
		Name: "many goroutines",
		Why:  "The service calls one Source and one Opener from many goroutines; run this with -race.",
		Run:  manyGoroutines,
	}}
}

func knownOpen(f *fixture) {
	versions := map[string]bool{}
	for i, known := range f.Known {
		opened := 0
		for _, c := range f.candidates(known.Ciphertext) {
			got, err := f.opener(c.version).Decrypt(known.Ciphertext, known.EncryptionContext)
			switch {
			case err != nil && !errors.Is(err, legacy.ErrCiphertext):
				f.Errorf("%s: Decrypt: %v", knownName(i), err)
			case err != nil:
			case c.key.ID != known.KeyID:
				f.Errorf("%s: another key than its own opens it", knownName(i))
			case !bytes.Equal(got, known.Plaintext):
				f.Errorf("%s: the plaintext is another", knownName(i))
			default:
				opened++
				versions[string(c.version.Material())] = true
			}
		}
		if opened != 1 {
			f.Errorf("%s: %d versions of its key open it", knownName(i), opened)
		}
	}
	if len(versions) < 2 && !f.Failed() {
		f.Fatalf("the known ciphertexts of the Subject are all of one version")
	}
}

func bareOpens(f *fixture) {
	for i, known := range f.Known {
		_, c := f.openerOf(known)
		o, err := f.Bare.Open(c.version.Locator, c.version.Material())
		if err != nil {
			f.Fatalf("%s: Open without keys: %v", knownName(i), err)
		}
		got, err := o.Decrypt(known.Ciphertext, known.EncryptionContext)
		if err != nil || !bytes.Equal(got, known.Plaintext) {
			f.Fatalf("%s: Decrypt without keys: %v, or another plaintext", knownName(i), err)
		}
	}
}

func damagedMaterial(f *fixture) {
	for _, k := range f.keys() {
		for _, v := range k.Versions {
			m := v.Material()
			for what, bad := range map[string][]byte{
				"no": nil, "empty": {}, "the last byte missing in": m[:len(m)-1], "the first byte missing in": m[1:],
				"a byte more behind": suite.Join(m, []byte{0}), "a byte more before": suite.Join([]byte{0xff}, m), "twice the": suite.Join(m, m),
			} {
				o, err := f.Source.Open(v.Locator, bad)
				if !errors.Is(err, legacy.ErrMaterial) || o != nil {
					f.Errorf("%s material: Open: %v, an Opener: %v; want ErrMaterial", what, err, o != nil)
				}
			}
		}
	}
}

func inputsUnchanged(f *fixture) {
	for _, known := range f.Known {
		_, c := f.openerOf(known)
		material := suite.Guard(c.version.Material())
		o, err := f.Source.Open(c.version.Locator, material.Slice)
		if err != nil {
			f.Fatalf("Open: %v", err)
		}
		material.Check(f, "Open: material")

		ciphertext, ec := suite.Guard(known.Ciphertext), maps.Clone(known.EncryptionContext)
		if _, err := o.Decrypt(ciphertext.Slice, ec); err != nil {
			f.Fatalf("Decrypt: %v", err)
		}
		ciphertext.Check(f, "Decrypt: ciphertext")
		damaged := suite.Guard(suite.Flip(known.Ciphertext, len(known.Ciphertext)*8-1))
		_, _ = o.Decrypt(damaged.Slice, ec) // whether it is refused is the matter of other cases
		damaged.Check(f, "a refused Decrypt: ciphertext")
		if !maps.Equal(ec, known.EncryptionContext) {
			f.Errorf("Decrypt changed the encryption context")
		}
		material.Check(f, "Decrypt: material")
	}
}

func nothingKept(f *fixture) {
	for _, known := range f.Known {
		_, c := f.openerOf(known)
		material, ciphertext := c.version.Material(), bytes.Clone(known.Ciphertext)
		o, err := f.Source.Open(c.version.Locator, material)
		if err != nil {
			f.Fatalf("Open: %v", err)
		}
		suite.Scribble(material)
		first, err := o.Decrypt(ciphertext, known.EncryptionContext)
		if err != nil || !bytes.Equal(first, known.Plaintext) {
			f.Fatalf("Decrypt after the material was written over: %v, or another plaintext", err)
		}
		suite.Scribble(ciphertext)
		if !bytes.Equal(first, known.Plaintext) {
			f.Fatalf("a plaintext changed with the ciphertext that it came from")
		}
		suite.Scribble(first)
		again, err := o.Decrypt(known.Ciphertext, known.EncryptionContext)
		if err != nil || !bytes.Equal(again, known.Plaintext) {
			f.Fatalf("Decrypt after an earlier result was written over: %v, or another plaintext", err)
		}
	}
}

func manyGoroutines(f *fixture) {
	openers := make([]legacy.Opener, len(f.Known))
	for i, known := range f.Known {
		openers[i], _ = f.openerOf(known)
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i, known := range f.Known {
				f.Source.Locate(known.Ciphertext)
				got, err := openers[i].Decrypt(known.Ciphertext, known.EncryptionContext)
				if err != nil || !bytes.Equal(got, known.Plaintext) {
					f.Errorf("%s: Decrypt among others: %v, or another plaintext", knownName(i), err)
				}
				for k, err := range f.Source.Keys(f.Context()) {
					if err != nil {
						f.Errorf("Keys among others: %v", err)
						break
					}
					v := k.Versions[0]
					if _, err := f.Source.Open(v.Locator, v.Material()); err != nil {
						f.Errorf("Open among others: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
}
