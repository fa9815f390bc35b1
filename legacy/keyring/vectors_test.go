package keyring_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/sha256"
	"encoding/hex"
	"sort"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/internal/vectors"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/legacy/legacytest"
)

// A vector is one of testdata/vectors.json, which is frozen. They were made by another
// implementation, in Python on OpenSSL.
type vector struct {
	KeyID, VersionID string
	Key, IV          vectors.Hex
	Context          map[string]string
	Plaintext        vectors.Hex
	Ciphertext       vectors.Hex
}

var (
	day1 = time.Date(2019, 3, 4, 5, 6, 7, 0, time.UTC)
	day2 = day1.AddDate(1, 0, 0)
)

// vectorKeys are the keys of the vectors.
func vectorKeys(t testing.TB) (keys []legacy.Key) {
	at := map[string]int{}
	for _, v := range vectors.Read[vector](t) {
		i, ok := at[v.KeyID]
		if !ok {
			i = len(keys)
			at[v.KeyID] = i
			keys = append(keys, legacy.Key{ID: v.KeyID, Description: "<ä> & \"" + v.KeyID, CreatedAt: day1, Imported: i == 1, Rotates: i == 0})
		}
		k := &keys[i]
		if n := len(k.Versions); n == 0 || k.Versions[n-1].Locator != v.VersionID {
			k.Versions = append(k.Versions, keyring.NewVersion(v.VersionID, day2, v.Key))
		}
	}
	require.Greater(t, len(keys), 2)
	return keys
}

func known(t testing.TB) (all []legacytest.Known) {
	for _, v := range vectors.Read[vector](t) {
		all = append(all, legacytest.Known{KeyID: v.KeyID, Ciphertext: v.Ciphertext, EncryptionContext: v.Context, Plaintext: v.Plaintext})
	}
	return all
}

// TestVectors: each opens under its own version.
func TestVectors(t *testing.T) {
	t.Parallel()
	s, err := keyring.New()
	require.NoError(t, err)
	for i, v := range vectors.Read[vector](t) {
		require.Equal(t, []string{v.VersionID}, s.Locate(v.Ciphertext))
		o, err := s.Open(v.VersionID, keyring.NewVersion(v.VersionID, time.Time{}, v.Key).Material())
		require.NoError(t, err)
		plaintext, err := o.Decrypt(v.Ciphertext, v.Context)
		require.NoError(t, err, i)
		require.Equal(t, hex.EncodeToString(v.Plaintext), hex.EncodeToString(plaintext))
	}
}

// TestVectorsMadeAgain: what the standard library makes of the parts of a vector is the
// ciphertext. GODEBUG=fips140=only takes no IV from outside, and so is off meanwhile.
func TestVectorsMadeAgain(t *testing.T) {
	t.Parallel()
	for _, v := range vectors.Read[vector](t) {
		fips140.WithoutEnforcement(func() {
			require.Equal(t, []byte(v.Ciphertext), encrypt(t, v.VersionID, v.Key, v.IV, v.Plaintext, v.Context))
		})
	}
}

// encrypt is the other side, written once more from the description of the format.
func encrypt(t testing.TB, versionID string, key, iv, plaintext []byte, ec map[string]string) []byte {
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	gcm, err := cipher.NewGCM(block)
	require.NoError(t, err)
	var data []byte
	if len(ec) > 0 {
		var names []string
		for name := range ec {
			names = append(names, name)
		}
		sort.Strings(names)
		joined := ""
		for _, name := range names {
			if joined != "" {
				joined += "&"
			}
			joined += name + "=" + ec[name]
		}
		sum := sha256.Sum256([]byte(joined))
		data = sum[:]
	}
	return gcm.Seal(append([]byte(versionID), iv...), iv, plaintext, data)
}
