package kwp_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/kwp/subtle"

	"github.com/keyhold/kms/internal/kwp"
	"github.com/keyhold/kms/internal/wycheproof"
)

type group struct {
	KeySize int `json:"keySize"`
	Tests   []struct {
		wycheproof.Vector
		Key, Msg, CT wycheproof.Hex
	} `json:"tests"`
}

// TestWycheproof: every vector, of every size of key. What is valid is also wrapped to the
// same bytes.
func TestWycheproof(t *testing.T) {
	t.Parallel()
	ours, tinks := wycheproof.NewTally(t, "aes_kwp, internal/kwp"), wycheproof.NewTally(t, "aes_kwp, Tink")
	for _, g := range wycheproof.Groups[group](t, "aes_kwp") {
		for _, v := range g.Tests {
			opened, err := kwp.Unwrap(v.Key, v.CT)
			ours.Check(v.Vector, err == nil && bytes.Equal(opened, v.Msg))
			if v.Result == "valid" {
				wrapped, err := kwp.Wrap(v.Key, v.Msg)
				require.NoError(t, err)
				require.Equal(t, []byte(v.CT), wrapped)
			}
			switch theirs, err := subtle.NewKWP(v.Key); {
			case err != nil:
				tinks.Leave("Tink takes no keys of 192 bits", 1)
			case len(v.Msg) < subtle.MinWrapSize && v.Result == "valid":
				tinks.Leave("Tink takes nothing shorter than 16 bytes", 1)
			default:
				opened, err := theirs.Unwrap(v.CT)
				tinks.Check(v.Vector, err == nil && bytes.Equal(opened, v.Msg))
			}
		}
	}
}
