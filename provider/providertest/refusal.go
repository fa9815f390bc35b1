package providertest

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/provider"
)

func refusalCases() []promise {
	return []promise{{
		Name: "every bit counts",
		Why:  "A ciphertext with any one bit flipped is ErrCiphertext: encryption is authenticated.",
		Run:  everyBitCounts,
	}, {
		Name: "the length counts",
		Why:  "A ciphertext that was cut or extended at either end is ErrCiphertext, down to the empty one; none panics.",
		Run:  lengthCounts,
	}, {
		Name: "associated data counts",
		Why:  "A ciphertext opens only under the associated data that it was made with: by them the service binds it to its place.",
		Run:  associatedDataCounts,
	}, {
		Name: "associated data have an end",
		Why:  "Bytes moved between the associated data and the ciphertext are ErrCiphertext: the two are not just joined.",
		Run:  associatedDataHaveAnEnd,
	}, {
		Name: "nil is empty",
		Why:  "A nil and an empty slice are the same plaintext and the same associated data.",
		Run:  nilIsEmpty,
	}, {
		Name: "another key refuses",
		Why:  "Every key is its own: what one encrypted, no other decrypts.",
		Run:  anotherKeyRefuses,
	}, {
		Name: "refusals are alike",
		Why:  "Decrypt has one answer, with one text: an attacker learns nothing from why a ciphertext was refused.",
		Run:  refusalsAlike,
	}, {
		Name: "errors are silent",
		Why:  "Errors are logged and shown: their text may hold nothing of a key, a plaintext or a ciphertext.",
		Run:  errorsAreSilent,
	}}
}

func everyBitCounts(f *fixture) {
	k := f.newKey()
	ad := suite.Random(16)
	ciphertext := f.encrypt(k, suite.Random(32), ad)
	for bit := range len(ciphertext) * 8 {
		f.refused(k, suite.Flip(ciphertext, bit), ad, fmt.Sprintf("bit %d flipped", bit))
	}
}

func lengthCounts(f *fixture) {
	k := f.newKey()
	ad := suite.Random(16)
	ciphertext := f.encrypt(k, suite.Random(32), ad)
	f.refused(k, nil, ad, "nil")
	for n := range ciphertext {
		f.refused(k, ciphertext[:n], ad, fmt.Sprintf("the first %d bytes", n))
		f.refused(k, ciphertext[n+1:], ad, fmt.Sprintf("without the first %d bytes", n+1))
	}
	for _, extra := range [][]byte{{0}, {0xff}, make([]byte, 16), ciphertext} {
		f.refused(k, suite.Join(ciphertext, extra), ad, fmt.Sprintf("%d bytes more at the end", len(extra)))
		f.refused(k, suite.Join(extra, ciphertext), ad, fmt.Sprintf("%d bytes more at the start", len(extra)))
	}
}

func associatedDataCounts(f *fixture) {
	k := f.newKey()
	ad := suite.Random(16)
	ciphertext := f.encrypt(k, suite.Random(32), ad)
	f.refused(k, ciphertext, nil, "no associated data")
	for bit := range len(ad) * 8 {
		f.refused(k, ciphertext, suite.Flip(ad, bit), fmt.Sprintf("bit %d of the associated data flipped", bit))
	}
	f.refused(k, ciphertext, ad[:len(ad)-1], "associated data without the last byte")
	f.refused(k, ciphertext, ad[1:], "associated data without the first byte")
	f.refused(k, ciphertext, suite.Join(ad, []byte{0}), "associated data and a zero byte")
	f.refused(k, ciphertext, suite.Join([]byte{0}, ad), "a zero byte and the associated data")

	f.refused(k, f.encrypt(k, suite.Random(32), nil), []byte{0}, "a zero byte instead of no associated data")
}

func associatedDataHaveAnEnd(f *fixture) {
	k := f.newKey()
	ad := suite.Random(16)
	ciphertext := f.encrypt(k, suite.Random(32), ad)
	for n := 1; n <= len(ad); n++ {
		head, tail := ad[:n], ad[len(ad)-n:]
		f.refused(k, suite.Join(tail, ciphertext), ad[:len(ad)-n], fmt.Sprintf("%d bytes moved from the end of the associated data", n))
		f.refused(k, suite.Join(ciphertext, head), ad[n:], fmt.Sprintf("%d bytes moved from the start of the associated data", n))
	}
	for n := 1; n <= 16; n++ {
		head, tail := ciphertext[:n], ciphertext[len(ciphertext)-n:]
		f.refused(k, ciphertext[n:], suite.Join(ad, head), fmt.Sprintf("%d bytes moved from the start of the ciphertext", n))
		f.refused(k, ciphertext[:len(ciphertext)-n], suite.Join(tail, ad), fmt.Sprintf("%d bytes moved from the end of the ciphertext", n))
	}
}

func nilIsEmpty(f *fixture) {
	k := f.newKey()
	plaintext := suite.Random(32)
	f.opens(k, f.encrypt(k, plaintext, nil), []byte{}, plaintext, "nil associated data, opened with empty ones")
	f.opens(k, f.encrypt(k, plaintext, []byte{}), nil, plaintext, "empty associated data, opened with nil")
	f.opens(k, f.encrypt(k, nil, nil), nil, []byte{}, "a nil plaintext")
	f.opens(k, f.encrypt(k, []byte{}, nil), nil, nil, "an empty plaintext")
}

func anotherKeyRefuses(f *fixture) {
	a, b := f.newKey(), f.newKey()
	ad := suite.Random(16)
	f.refused(b, f.encrypt(a, suite.Random(32), ad), ad, "the first key's ciphertext, to the second")
	f.refused(a, f.encrypt(b, suite.Random(32), ad), ad, "the second key's ciphertext, to the first")
}

func refusalsAlike(f *fixture) {
	a, b := f.newKey(), f.newKey()
	ad := suite.Random(16)
	ciphertext := f.encrypt(a, suite.Random(32), ad)
	last := len(ciphertext)*8 - 1
	want := f.refused(a, suite.Flip(ciphertext, 0), ad, "first bit flipped").Error()
	for _, c := range []struct {
		what       string
		ciphertext []byte
		ad         []byte
	}{
		{"nil", nil, ad},
		{"one byte", ciphertext[:1], ad},
		{"half of it", ciphertext[:len(ciphertext)/2], ad},
		{"middle bit flipped", suite.Flip(ciphertext, last/2), ad},
		{"last bit flipped", suite.Flip(ciphertext, last), ad},
		{"one byte more", suite.Join(ciphertext, []byte{0}), ad},
		{"other associated data", ciphertext, ad[1:]},
		{"zeros", make([]byte, len(ciphertext)), ad},
		{"8 KiB of noise", suite.Random(8192), ad},
	} {
		if got := f.refused(a, c.ciphertext, c.ad, c.what).Error(); got != want {
			f.Errorf("%s: the text is %q, and for a flipped bit %q", c.what, got, want)
		}
	}
	// That the other key refuses is the matter of another case.
	if _, err := b.Decrypt(f.Context(), nil, ciphertext, ad); err != nil && err.Error() != want {
		f.Errorf("another key: the text is %q, and for a flipped bit %q", err, want)
	}
}

func errorsAreSilent(f *fixture) {
	id := f.newID()
	material := f.generate(id)
	k := f.open(id, material)
	plaintext, ad := suite.Random(32), suite.Random(16)
	ciphertext := f.encrypt(k, plaintext, ad)
	damaged := suite.Flip(material, len(material)*8-1)

	texts := []error{
		f.refused(k, suite.Flip(ciphertext, len(ciphertext)*8-1), ad, "last bit flipped"),
		f.refused(k, ciphertext[:len(ciphertext)/2], ad, "half of it"),
		f.refused(k, ciphertext, nil, "no associated data"),
	}
	for _, m := range [][]byte{damaged, material[:len(material)-1], suite.Join(material, []byte{0}), {}} {
		if _, err := f.p.Open(f.Context(), id, provider.AES256, m); err != nil {
			texts = append(texts, err)
		}
	}
	if _, err := f.p.Open(f.Context(), f.newID(), provider.AES256, material); err != nil {
		texts = append(texts, err)
	}
	for _, err := range texts {
		for what, secret := range map[string][]byte{
			"plaintext": plaintext, "ciphertext": ciphertext, "material": material, "damaged material": damaged,
		} {
			if shows(err.Error(), secret) {
				// The text itself is not printed again.
				f.Errorf("the text of an error of type %T shows the %s", err, what)
			}
		}
	}
}

// shows is whether six bytes of the secret in a row can be read in the text. Six bytes of
// readable text do not count as they are: a reference may hold the id, and errors may
// name it.
func shows(text string, secret []byte) bool {
	const window = 6
	lower := strings.ToLower(text)
	for i := range max(0, len(secret)-window+1) {
		w := secret[i : i+window]
		readable := strings.IndexFunc(string(w), func(r rune) bool { return r < ' ' || r > '~' }) < 0
		if !readable && strings.Contains(text, string(w)) ||
			strings.Contains(lower, hex.EncodeToString(w)) ||
			strings.Contains(lower, fmt.Sprintf("% x", w)) ||
			strings.Contains(text, base64.StdEncoding.EncodeToString(w)) ||
			strings.Contains(text, base64.URLEncoding.EncodeToString(w)) ||
			strings.Contains(text, strings.Trim(fmt.Sprintf("%d", w), "[]")) {
			return true
		}
	}
	return false
}
