package legacytest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/legacy"
)

func refusalCases() []promise {
	return []promise{{
		Name: "every bit counts",
		Why:  "A ciphertext with any one bit flipped is refused by the version that it was of, and by every other one.",
		Run:  everyBitCounts,
	}, {
		Name: "the length counts",
		Why:  "A ciphertext that was cut or extended at either end is ErrCiphertext, down to the empty one; none panics.",
		Run:  lengthCounts,
	}, {
		Name: "the encryption context counts",
		Why:  "A ciphertext opens only under the encryption context that it was made with; nil and empty are the same.",
		Run:  contextCounts,
	}, {
		Name: "another version refuses",
		Why:  "What one version encrypted, no other decrypts.",
		Run:  anotherVersion,
	}, {
		Name: "the locator counts",
		Why:  "Material under the locator of another version is a mix-up in the key store: it must not open what has the first locator.",
		Run:  locatorCounts,
	}, {
		Name: "refusals are alike",
		Why:  "Decrypt has one answer, with one text: an attacker learns nothing from why a ciphertext was refused.",
		Run:  refusalsAlike,
	}}
}

func everyBitCounts(f *fixture) {
	for i, known := range f.Known {
		o, _ := f.openerOf(known)
		others := f.openersBut(known)
		for bit := range len(known.Ciphertext) * 8 {
			bad := suite.Flip(known.Ciphertext, bit)
			f.refused(o, bad, known.EncryptionContext, fmt.Sprintf("%s, bit %d flipped", knownName(i), bit))
			for _, other := range others {
				f.refused(other, bad, known.EncryptionContext, fmt.Sprintf("%s, bit %d flipped, another version", knownName(i), bit))
			}
		}
	}
}

// openersBut opens every version that is not the one of a known ciphertext.
func (f *fixture) openersBut(known Known) (others []legacy.Opener) {
	f.Helper()
	_, own := f.openerOf(known)
	for _, k := range f.keys() {
		for _, v := range k.Versions {
			if k.ID != own.key.ID || !bytes.Equal(v.Material(), own.version.Material()) {
				others = append(others, f.opener(v))
			}
		}
	}
	if len(others) == 0 {
		f.Fatalf("the Source has no other version")
	}
	return others
}

func lengthCounts(f *fixture) {
	for i, known := range f.Known {
		o, _ := f.openerOf(known)
		c, ec, name := known.Ciphertext, known.EncryptionContext, knownName(i)
		f.refused(o, nil, ec, "nil")
		for n := range c {
			f.refused(o, c[:n], ec, fmt.Sprintf("the first %d bytes of %s", n, name))
			f.refused(o, c[n+1:], ec, fmt.Sprintf("%s without its first %d bytes", name, n+1))
		}
		for _, extra := range [][]byte{{0}, {0xff}, []byte("\n"), []byte("="), []byte(" "), make([]byte, 16), c} {
			f.refused(o, suite.Join(c, extra), ec, fmt.Sprintf("%s and %d bytes more", name, len(extra)))
			f.refused(o, suite.Join(extra, c), ec, fmt.Sprintf("%d bytes and %s", len(extra), name))
		}
	}
}

func contextCounts(f *fixture) {
	for i, known := range f.Known {
		o, _ := f.openerOf(known)
		c, ec, name := known.Ciphertext, known.EncryptionContext, knownName(i)
		refused := func(ec map[string]string, what string) {
			f.Helper()
			f.refused(o, c, ec, name+": "+what)
		}
		with := func(k, v string) map[string]string {
			m := map[string]string{k: v}
			maps.Copy(m, ec)
			return m
		}
		refused(with("one pair", "more"), "one pair more")
		if len(ec) == 0 {
			for what, none := range map[string]map[string]string{"no context": nil, "an empty context": {}} {
				if got, err := o.Decrypt(c, none); err != nil || !bytes.Equal(got, known.Plaintext) {
					f.Errorf("%s, %s: Decrypt: %v, or another plaintext", name, what, err)
				}
			}
			continue
		}
		refused(nil, "no context")
		refused(map[string]string{}, "an empty context")
		for k, v := range ec {
			m := with("", "")
			delete(m, "")
			delete(m, k)
			refused(m, "a pair missing")
			refused(merged(m, k+"x", v), "another key in a pair")
			refused(merged(m, k, v+"x"), "another value in a pair")
			refused(merged(m, k, ""), "an empty value in a pair")
		}
	}
}

func merged(m map[string]string, k, v string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	m[k] = v
	return m
}

func anotherVersion(f *fixture) {
	for i, known := range f.Known {
		for _, o := range f.openersBut(known) {
			f.refused(o, known.Ciphertext, known.EncryptionContext, knownName(i)+", another version")
		}
	}
}

func locatorCounts(f *fixture) {
	for i, known := range f.Known {
		_, own := f.openerOf(known)
		located := map[string]bool{}
		for _, l := range f.Source.Locate(known.Ciphertext) {
			located[l] = true
		}
		for _, k := range f.keys() {
			for _, v := range k.Versions {
				if located[v.Locator] {
					continue
				}
				o, err := f.Source.Open(v.Locator, own.version.Material())
				switch {
				case errors.Is(err, legacy.ErrMaterial) && o == nil:
				case err != nil:
					f.Fatalf("Open under another locator: %v; want ErrMaterial or an Opener", err)
				default:
					f.refused(o, known.Ciphertext, known.EncryptionContext, knownName(i)+", opened under another locator")
				}
			}
		}
		for _, bad := range []string{"", "/", "a\x00", string(make([]byte, 65))} {
			if o, err := f.Source.Open(bad, own.version.Material()); !errors.Is(err, legacy.ErrMaterial) || o != nil {
				f.Errorf("Open under what is no locator: %v, an Opener: %v; want ErrMaterial", err, o != nil)
			}
		}
	}
}

func refusalsAlike(f *fixture) {
	known := f.Known[0]
	o, _ := f.openerOf(known)
	c, ec := known.Ciphertext, known.EncryptionContext
	last := len(c)*8 - 1
	want := f.refused(o, suite.Flip(c, 0), ec, "first bit flipped").Error()
	for _, bad := range []struct {
		what       string
		ciphertext []byte
		ec         map[string]string
	}{
		{"nil", nil, ec},
		{"one byte", c[:1], ec},
		{"half of it", c[:len(c)/2], ec},
		{"middle bit flipped", suite.Flip(c, last/2), ec},
		{"last bit flipped", suite.Flip(c, last), ec},
		{"one byte more", suite.Join(c, []byte{0}), ec},
		{"another context", c, merged(ec, "one pair", "more")},
		{"zeros", make([]byte, len(c)), ec},
		{"8 KiB of noise", suite.Random(8192), ec},
	} {
		if got := f.refused(o, bad.ciphertext, bad.ec, bad.what).Error(); got != want {
			f.Errorf("%s: the text is %q, and for a flipped bit %q", bad.what, got, want)
		}
	}
	for _, other := range f.openersBut(known) {
		if _, err := other.Decrypt(c, ec); err != nil && err.Error() != want {
			f.Errorf("another version: the text is %q, and for a flipped bit %q", err, want)
		}
	}
}
