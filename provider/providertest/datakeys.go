package providertest

import (
	"bytes"
	"fmt"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/provider"
)

func dataKeyCases() []promise {
	return []promise{{
		Name: "data keys",
		Why:  "A data key is as random as any key, is what its ciphertext opens to, and is made behind what was in dst.",
		Run:  dataKeys,
	}, {
		Name: "associated data in dst",
		Why:  "Callers bind a ciphertext to the header in front of it, which is in dst already, and spare the copy.",
		Run:  associatedInDst,
	}}
}

func dataKeys(f *fixture) {
	k, ok := f.newKey().(provider.DataKeyGenerator)
	if !ok {
		f.Logf("not run: the provider makes no data keys")
		return
	}
	opener := k.(provider.Key)
	seen := map[string]bool{}
	for _, n := range []int{1, 15, 16, 32, 33, 1024} {
		for _, spare := range []int{0, 1, 4096} {
			ad, prefix, before := suite.Random(20), suite.Random(37), suite.Random(n)
			key := bytes.Clone(before)
			dst := append(make([]byte, 0, len(prefix)+spare), prefix...)
			sealed, err := k.GenerateDataKey(f.Context(), dst, key, ad)
			if err != nil {
				f.Fatalf("GenerateDataKey of %d bytes: %v", n, err)
			}
			if !bytes.HasPrefix(sealed, prefix) || !bytes.Equal(dst, prefix) {
				f.Fatalf("GenerateDataKey to a dst with %d bytes to spare: what was in dst is no longer there", spare)
			}
			f.opens(opener, bytes.Clone(sealed[len(prefix):]), ad, key, fmt.Sprintf("a data key of %d bytes", n))
			// Of 15 bytes, two that are equal will not be seen.
			if n >= 15 && (seen[string(key)] || bytes.Equal(key, before) || bytes.Count(key, key[:1]) == n) {
				f.Fatalf("a data key of %d bytes is not random", n)
			}
			seen[string(key)] = true
		}
	}
}

func associatedInDst(f *fixture) {
	k := f.newKey()
	plaintext, header := suite.Random(100), suite.Random(23)
	for _, spare := range []int{0, 1, 1000} {
		dst := append(make([]byte, 0, len(header)+spare), header...)
		sealed, err := k.Encrypt(f.Context(), dst, plaintext, dst)
		if err != nil {
			f.Fatalf("Encrypt with associated data in dst: %v", err)
		}
		f.opens(k, bytes.Clone(bytes.TrimPrefix(sealed, header)), header, plaintext, "associated data that was in dst")
	}
}
