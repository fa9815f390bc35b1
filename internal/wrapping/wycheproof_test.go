package wrapping_test

import (
	"bytes"
	"crypto/fips140"
	"testing"

	"github.com/keyhold/kms/internal/wrapping"
	"github.com/keyhold/kms/internal/wycheproof"
)

type oaepGroup struct {
	KeySize int            `json:"keySize"`
	Sha     string         `json:"sha"`
	MGFSha  string         `json:"mgfSha"`
	Private wycheproof.Hex `json:"privateKeyPkcs8"`
	Tests   []struct {
		wycheproof.Vector
		Msg, CT, Label wycheproof.Hex
	} `json:"tests"`
}

// labelled: an import has no label, and so what has one is not for it.
var labelled = wycheproof.Exception{Flag: "EncryptionWithLabel", Accepted: false, Why: "it has a label, and an import has none"}

// TestWycheproofOAEP: the unwrapping of material, with each size of wrapping key. Keys of
// three primes are not made here, and their file is not run.
func TestWycheproofOAEP(t *testing.T) {
	t.Parallel()
	for file, exceptions := range map[string][]wycheproof.Exception{
		"rsa_oaep_2048_sha256_mgf1sha256": {labelled},
		"rsa_oaep_3072_sha256_mgf1sha256": {labelled},
		"rsa_oaep_4096_sha256_mgf1sha256": {labelled},
		"rsa_oaep_misc":                   nil,
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			tally := wycheproof.NewTally(t, file+", import", exceptions...)
			for _, g := range wycheproof.Groups[oaepGroup](t, file) {
				switch {
				case g.Sha != "SHA-256" || g.MGFSha != "SHA-256":
					tally.Leave("another hash than SHA-256 is not in use", len(g.Tests))
					continue
				case g.KeySize != 2048 && g.KeySize != 3072 && g.KeySize != 4096:
					tally.Leave("a wrapping key of another size is not made", len(g.Tests))
					continue
				}
				for _, v := range g.Tests {
					fips140.WithoutEnforcement(func() {
						material, ok := wrapping.Unwrap(wrapping.OAEP, g.Private, v.CT)
						tally.Check(v.Vector, ok && bytes.Equal(material, v.Msg))
					})
				}
			}
		})
	}
}
