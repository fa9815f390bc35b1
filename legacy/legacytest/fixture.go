package legacytest

import (
	"errors"
	"slices"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/legacy"
)

// fixture is what a case works with: the Subject, and short forms that end the case where
// something fails that the case is not about.
type fixture struct {
	suite.TB
	Subject
}

// enough fails a Subject with which a case could pass for want of anything to look at.
func (f *fixture) enough() {
	f.Helper()
	switch {
	case f.Source == nil || f.Bare == nil:
		f.Fatalf("the Subject has no Source, or none without keys")
	case len(f.Known) < 2 || len(f.Foreign) == 0:
		f.Fatalf("the Subject has fewer than two known ciphertexts, or nothing that is foreign")
	case !slices.ContainsFunc(f.Known, func(k Known) bool { return len(k.EncryptionContext) > 0 }):
		f.Fatalf("no known ciphertext has an encryption context")
	case !slices.ContainsFunc(f.Known, func(k Known) bool { return len(k.EncryptionContext) == 0 }):
		f.Fatalf("every known ciphertext has an encryption context")
	}
}

// keys are all that the Source yields.
func (f *fixture) keys() (keys []legacy.Key) {
	f.Helper()
	for k, err := range f.Source.Keys(f.Context()) {
		if err != nil {
			f.Fatalf("Keys: %v", err)
		}
		keys = append(keys, k)
	}
	return keys
}

// opener opens a version.
func (f *fixture) opener(v legacy.Version) legacy.Opener {
	f.Helper()
	o, err := f.Source.Open(v.Locator, v.Material())
	if err != nil || o == nil {
		f.Fatalf("Open of a version that Keys yielded: %v, %v", o, err)
	}
	return o
}

// candidate is a version that a ciphertext may be of.
type candidate struct {
	key     legacy.Key
	version legacy.Version
}

// candidates finds versions as the service does: by the locators of a ciphertext.
func (f *fixture) candidates(ciphertext []byte) (all []candidate) {
	f.Helper()
	for _, locator := range f.Source.Locate(slices.Clip(ciphertext)) {
		for _, k := range f.keys() {
			for _, v := range k.Versions {
				if v.Locator == locator {
					all = append(all, candidate{k, v})
				}
			}
		}
	}
	return all
}

// openerOf is the opener of the version that a known ciphertext is of, and that version.
func (f *fixture) openerOf(known Known) (legacy.Opener, candidate) {
	f.Helper()
	for _, c := range f.candidates(known.Ciphertext) {
		if c.key.ID != known.KeyID {
			continue
		}
		o := f.opener(c.version)
		if _, err := o.Decrypt(known.Ciphertext, known.EncryptionContext); err == nil {
			return o, c
		}
	}
	f.Fatalf("no version of its key opens a known ciphertext")
	return nil, candidate{}
}

// refused checks that Decrypt answers nil and ErrCiphertext.
func (f *fixture) refused(o legacy.Opener, ciphertext []byte, ec map[string]string, what string) error {
	f.Helper()
	got, err := o.Decrypt(slices.Clip(ciphertext), ec)
	switch {
	case err == nil:
		f.Fatalf("%s: Decrypt accepted it", what)
	case !errors.Is(err, legacy.ErrCiphertext):
		f.Fatalf("%s: Decrypt: %v; want ErrCiphertext", what, err)
	case got != nil:
		f.Fatalf("%s: Decrypt returned %d bytes beside ErrCiphertext; want nil", what, len(got))
	}
	return err
}
