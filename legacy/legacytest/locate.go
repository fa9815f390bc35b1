package legacytest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/legacy"
)

func locateCases() []promise {
	return []promise{{
		Name: "known ciphertexts are located",
		Why:  "A ciphertext whose version is not among its locators is never opened.",
		Run:  knownAreLocated,
	}, {
		Name: "foreign ciphertexts are not located",
		Why:  "Several schemes may be asked about one ciphertext; what none of them knows is refused at once.",
		Run:  foreignAreNot,
	}, {
		Name: "locators are sound",
		Why:  "Locators become names in the key store, whatever somebody gives for a ciphertext; and each costs a look.",
		Run:  locatorsAreSound,
	}, {
		Name: "Locate depends on the ciphertext alone",
		Why:  "Where a version is looked for must not change when keys are taken over, or when somebody asks again.",
		Run:  locateIsPure,
	}}
}

func knownAreLocated(f *fixture) {
	for i, known := range f.Known {
		found := false
		for _, c := range f.candidates(known.Ciphertext) {
			found = found || c.key.ID == known.KeyID
		}
		if !found {
			f.Errorf("known ciphertext %d: no locator is one of its key", i)
		}
	}
}

func foreignAreNot(f *fixture) {
	foreign := append(slices.Clone(f.Foreign), nil, []byte{}, []byte{0})
	for i, b := range foreign {
		if locators := f.Source.Locate(slices.Clip(b)); len(locators) > 0 {
			f.Errorf("foreign ciphertext %d of %d bytes has locators", i, len(b))
		}
	}
}

// oddities are things to be located: damaged ciphertexts and noise.
func (f *fixture) oddities() [][]byte {
	odd := slices.Clone(f.Foreign)
	for _, known := range f.Known {
		c := known.Ciphertext
		odd = append(odd, c)
		for n := range c {
			odd = append(odd, c[:n], c[n:])
		}
		for bit := range 8 * min(len(c), 64) {
			odd = append(odd, suite.Flip(c, bit))
		}
		for _, b := range []byte{0, '/', ':', ' ', '\n', 0x7f, 0xff} {
			for n := range min(len(c), 64) {
				bad := bytes.Clone(c)
				bad[n] = b
				odd = append(odd, bad)
			}
		}
	}
	for _, n := range []int{1, 2, 12, 16, 28, 64, 100, 8192} {
		odd = append(odd, suite.Random(n), make([]byte, n), bytes.Repeat([]byte{0xff}, n))
	}
	return odd
}

func locatorsAreSound(f *fixture) {
	for _, b := range f.oddities() {
		locators := f.Source.Locate(slices.Clip(b))
		if len(locators) > legacy.MaxLocators {
			f.Fatalf("%d locators for one ciphertext", len(locators))
		}
		for i, l := range locators {
			if !legacy.ValidLocator(l) {
				f.Fatalf("a locator of %d bytes is not as the contract says", len(l))
			}
			if slices.Contains(locators[:i], l) {
				f.Fatalf("a locator is there twice")
			}
		}
	}
}

func locateIsPure(f *fixture) {
	for _, b := range f.oddities() {
		g := suite.Guard(b)
		first := slices.Clone(f.Source.Locate(g.Slice))
		g.Check(f, "Locate: ciphertext")
		for what, again := range map[string][]string{
			"again": f.Source.Locate(g.Slice), "from a copy": f.Source.Locate(bytes.Clone(b)), "without keys": f.Bare.Locate(g.Slice),
		} {
			if !slices.Equal(first, again) {
				f.Fatalf("located %s, a ciphertext of %d bytes has other locators", what, len(b))
			}
		}
		f.overwritten(b, first)
	}
}

// overwritten checks that locators do not change with the ciphertext that they came from.
func (f *fixture) overwritten(b []byte, want []string) {
	f.Helper()
	b = bytes.Clone(b)
	got := f.Source.Locate(b)
	suite.Scribble(b)
	if !slices.Equal(want, got) {
		f.Fatalf("locators changed with the ciphertext that they came from")
	}
}

func knownName(i int) string { return fmt.Sprintf("known ciphertext %d", i) }
