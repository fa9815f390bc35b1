package providertest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/provider"
)

func materialCases() []promise {
	return []promise{{
		Name: "material reopens",
		Why:  "Material is what the service keeps of a key: opened again, after years, it is the same key.",
		Run:  materialReopens,
	}, {
		Name: "material is of one id",
		Why:  "Material that was moved to another id is refused, or is another key there: else whoever can move records can trade keys.",
		Run:  materialIsOfOneID,
	}, {
		Name: "damaged material is refused",
		Why:  "Material that is damaged in any bit, cut, extended or empty is ErrNoKey and no key: a key opened from it would lose what it encrypts.",
		Run:  damagedMaterial,
	}, {
		Name: "material is small",
		Why:  "Material is at most 64 KiB and never empty: stores have limits, and no material means that the key is gone.",
		Run:  materialIsSmall,
	}, {
		Name: "ids of every kind",
		Why:  "An id is 1 to 128 bytes of printable ASCII, and all of them count.",
		Run:  idsOfEveryKind,
	}, {
		Name: "an unknown spec is unsupported",
		Why:  "What a provider does not know it refuses with ErrUnsupported: a key of another kind than was asked for is a wrong key.",
		Run:  unknownSpec,
	}, {
		Name: "a use is one of the spec's",
		Why:  "A key is made for one use. One that keys of the spec do not have is ErrUnsupported: the key would be for something else, or for all.",
		Run:  usesOfTheSpec,
	}}
}

func materialReopens(f *fixture) {
	id := f.newID()
	material := f.generate(id)
	plaintext, ad := suite.Random(32), suite.Random(16)
	ciphertext := f.encrypt(f.open(id, material), plaintext, ad)
	for range 3 {
		k := f.open(id, bytes.Clone(material))
		f.opens(k, ciphertext, ad, plaintext, "a ciphertext from before")
		ciphertext = f.encrypt(k, plaintext, ad)
	}
}

func materialIsOfOneID(f *fixture) {
	id := f.newID()
	material := f.generate(id)
	k := f.open(id, material)
	ad := suite.Random(16)
	ciphertext := f.encrypt(k, suite.Random(32), ad)
	for _, other := range []string{f.newID(), id + "0", id[:len(id)-1], strings.ToUpper(id)} {
		moved, err := f.p.Open(f.Context(), other, provider.AES256, material)
		if err != nil {
			if !errors.Is(err, provider.ErrNoKey) || moved != nil {
				f.Errorf("Open under another id: key %v, error %v; want no key and ErrNoKey", moved != nil, err)
			}
			continue
		}
		f.refused(moved, ciphertext, ad, "the ciphertext, under another id's key of that material")
		f.refused(k, f.encrypt(moved, suite.Random(32), ad), ad, "a ciphertext of another id's key of that material")
	}
}

func damagedMaterial(f *fixture) {
	id := f.newID()
	material := f.generate(id)
	check := func(damaged []byte, what string) {
		f.Helper()
		f.notOpened(id, provider.AES256, damaged, what, provider.ErrNoKey)
	}
	check(nil, "nil")
	check([]byte{}, "empty")
	// Long material is sampled, so that a case does not take minutes.
	bits := len(material) * 8
	for bit := 0; bit < bits; bit += max(1, bits/2048) {
		check(suite.Flip(material, bit), fmt.Sprintf("bit %d flipped", bit))
	}
	for n := 1; n < len(material); n += max(1, len(material)/256) {
		check(material[:n], fmt.Sprintf("the first %d of %d bytes", n, len(material)))
		check(material[n:], fmt.Sprintf("without the first %d of %d bytes", n, len(material)))
	}
	check(suite.Join(material, []byte{0}), "a byte more at the end")
	check(suite.Join([]byte{0}, material), "a byte more at the start")
	check(suite.Join(material, material), "twice")
	check(make([]byte, len(material)), "zeros")
	check(suite.Random(len(material)), "noise")
	check(make([]byte, 64<<10+1), "more than 64 KiB")
	f.open(id, material) // and all the time it is good
}

func materialIsSmall(f *fixture) {
	const limit = 64 << 10
	if n := len(f.generate(f.newID())); n < 1 || n > limit {
		f.Errorf("the material has %d bytes; want 1 to %d", n, limit)
	}
}

func idsOfEveryKind(f *fixture) {
	var printable strings.Builder
	for c := byte(' '); c <= '~'; c++ {
		printable.WriteByte(c)
	}
	unique := f.newID()
	for _, id := range []string{
		unique[len(unique)-8:],
		unique + strings.Repeat("x", 127-len(unique)) + "y",
		unique + strings.Repeat("x", 127-len(unique)) + "z",
		unique[len(unique)-16:] + printable.String(),
		"../" + unique,
		unique + "%s%00\\n",
	} {
		k := f.open(id, f.generate(id))
		plaintext := suite.Random(32)
		f.opens(k, f.encrypt(k, plaintext, nil), nil, plaintext, fmt.Sprintf("a key with an id of %d bytes", len(id)))
	}
}

func unknownSpec(f *fixture) {
	id := f.newID()
	material := f.generate(id)
	for _, spec := range []provider.Spec{"", "KEYHOLD_NO_SUCH_SPEC", "aes_256", provider.AES256 + " "} {
		made, err := f.p.Generate(f.Context(), f.newID(), spec, provider.UseEncrypt)
		if !errors.Is(err, provider.ErrUnsupported) || made != nil {
			f.Errorf("Generate of spec %q: %d bytes, error %v; want nil and ErrUnsupported", spec, len(made), err)
		}
		f.notOpened(id, spec, material, fmt.Sprintf("spec %q", spec), provider.ErrUnsupported, provider.ErrNoKey)
	}
}

func usesOfTheSpec(f *fixture) {
	for _, spec := range []provider.Spec{provider.AES256, provider.ECP256, provider.RSA2048, provider.HMAC256} {
		for _, use := range []provider.Use{"", "encrypt", provider.UseEncrypt, provider.UseSign, provider.UseDecrypt, provider.UseMac} {
			if slices.Contains(spec.Uses(), use) {
				continue
			}
			made, err := f.p.Generate(f.Context(), f.newID(), spec, use)
			if !errors.Is(err, provider.ErrUnsupported) || made != nil {
				f.Errorf("Generate of %s for the use %q: %d bytes, error %v; want nil and ErrUnsupported", spec, use, len(made), err)
			}
		}
	}
}
