package xaes_test

import (
	"bytes"
	"crypto/fips140"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/tinkkeys"
	"github.com/keyhold/kms/internal/xaes"
)

// tinkAEAD is Tink's XAES-256-GCM of that key: no prefix, a salt of 12 bytes.
func tinkAEAD(t testing.TB, key []byte) tink.AEAD {
	t.Helper()
	return tinkkeys.AEAD(t, tinkkeys.XAES(t, key, xaesgcm.VariantNoPrefix, xaes.SaltSize))
}

// TestSameAsTink holds the two implementations together: what one seals, the other opens.
// Random inputs: 20 000, and 1 000 000 in a campaign. Tink's side runs with FIPS
// enforcement off, as Tink refuses to run under it; ours runs as the process does.
func TestSameAsTink(t *testing.T) {
	t.Parallel()
	n := campaign.Size(20_000, 1_000_000)
	seed := [32]byte{'s', 'a', 'm', 'e'}
	r := rand.New(rand.NewChaCha8(seed))
	fill := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	const perKey = 20
	for range n / perKey {
		key := fill(xaes.KeySize)
		var theirs tink.AEAD
		fips140.WithoutEnforcement(func() { theirs = tinkAEAD(t, key) })
		for range perKey {
			plaintext, ad := fill(r.IntN(300)), fill(r.IntN(100))
			// A new Key each time: one Key seals many messages under one salt, and every
			// input should have a salt of its own.
			ours, err := xaes.New(key)
			require.NoError(t, err)

			sealed := ours.Seal(nil, plaintext, ad)
			var opened []byte
			fips140.WithoutEnforcement(func() { opened, err = theirs.Decrypt(sealed, ad) })
			require.NoError(t, err, "Tink opens ours")
			require.True(t, bytes.Equal(plaintext, opened))

			fips140.WithoutEnforcement(func() { sealed, err = theirs.Encrypt(plaintext, ad) })
			require.NoError(t, err)
			opened, err = ours.Open(nil, sealed, ad)
			require.NoError(t, err, "we open Tink's")
			require.True(t, bytes.Equal(plaintext, opened))
		}
	}
}
