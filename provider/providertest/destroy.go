package providertest

import (
	"bytes"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/provider"
)

func destroyCases() []promise {
	return []promise{{
		Name: "destroy repeats",
		Why:  "The service repeats Destroy until it has nil, also when it had it but was killed: what is gone is gone, and no error.",
		Run:  destroyRepeats,
	}, {
		Name: "after destroy nothing is wrong",
		Why:  "Keys may still be open when theirs is destroyed: they may fail or still work, but not panic and not answer wrongly.",
		Run:  afterDestroy,
	}, {
		Name: "destroy is of one key",
		Why:  "Destroy ends the key of that id and that material, and no other, whatever it is given.",
		Run:  destroyIsOfOneKey,
	}}
}

func destroyRepeats(f *fixture) {
	id := f.newID()
	material := f.generate(id)
	for i := range 3 {
		if err := f.p.Destroy(f.Context(), id, material); err != nil {
			f.Fatalf("Destroy, call %d: %v", i+1, err)
		}
	}
}

func afterDestroy(f *fixture) {
	id := f.newID()
	material := f.generate(id)
	k := f.open(id, material)
	plaintext, ad := suite.Random(32), suite.Random(16)
	ciphertext := f.encrypt(k, plaintext, ad)
	if err := f.p.Destroy(f.Context(), id, material); err != nil {
		f.Fatalf("Destroy: %v", err)
	}
	use := func(k provider.Key, which string) {
		got, err := k.Decrypt(f.Context(), nil, ciphertext, ad)
		if err == nil && !bytes.Equal(got, plaintext) {
			f.Errorf("%s: Decrypt returned something else than the plaintext, and no error", which)
		}
		if err != nil && got != nil {
			f.Errorf("%s: Decrypt returned %d bytes beside an error", which, len(got))
		}
		if made, err := k.Encrypt(f.Context(), nil, plaintext, ad); err != nil && made != nil {
			f.Errorf("%s: Encrypt returned %d bytes beside an error", which, len(made))
		}
		if got, err := k.Decrypt(f.Context(), nil, suite.Flip(ciphertext, 0), ad); err == nil || got != nil {
			f.Errorf("%s: Decrypt accepted a damaged ciphertext", which)
		}
	}
	use(k, "the key that was open")
	if again, err := f.p.Open(f.Context(), id, provider.AES256, material); err == nil {
		use(again, "the key opened again")
	}
}

func destroyIsOfOneKey(f *fixture) {
	id, other := f.newID(), f.newID()
	material, otherMaterial := f.generate(id), f.generate(other)
	plaintext, ad := suite.Random(32), suite.Random(16)
	ciphertext := f.encrypt(f.open(id, material), plaintext, ad)

	// What these return is theirs to say; what they do is not.
	_ = f.p.Destroy(f.Context(), other, material)
	_ = f.p.Destroy(f.Context(), f.newID(), material)
	_ = f.p.Destroy(f.Context(), id, otherMaterial)
	_ = f.p.Destroy(f.Context(), id, nil)
	_ = f.p.Destroy(f.Context(), id, material[:len(material)/2])
	_ = f.p.Destroy(f.Context(), other, otherMaterial)

	f.opens(f.open(id, material), ciphertext, ad, plaintext, "a key that nobody destroyed")
}
