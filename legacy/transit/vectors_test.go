package transit_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/internal/vectors"
	"github.com/keyhold/kms/legacy/legacytest"
	"github.com/keyhold/kms/legacy/transit"
)

// A vector is an export and what was encrypted under it: one of testdata/vectors.json, which is
// frozen. They were made from the description of the format by another implementation, in
// Python on OpenSSL.
type vector struct {
	Export   json.RawMessage
	Messages []struct {
		Version        int
		Nonce          vectors.Hex
		AssociatedData string
		Plaintext      vectors.Hex
		Ciphertext     string
	}
}

type exportData struct {
	Name, Type string
	Keys       map[string][]byte
}

func (v vector) data(t testing.TB) exportData {
	var answer struct{ Data exportData }
	require.NoError(t, json.Unmarshal(v.Export, &answer))
	require.NotEmpty(t, answer.Data.Keys)
	return answer.Data
}

// openable are the vectors of the types that the program opens as it runs.
func openable(t testing.TB) (some []vector) {
	for _, v := range vectors.Read[vector](t) {
		if !fips140.Enforced() || strings.HasPrefix(v.data(t).Type, "aes") {
			some = append(some, v)
		}
	}
	require.NotEmpty(t, some)
	return some
}

func contextOf(data string) map[string]string {
	if data == "" {
		return nil
	}
	return map[string]string{transit.ContextKey: data}
}

func source(t testing.TB, vs []vector) *transit.Source {
	var exports []transit.Export
	for _, v := range vs {
		exports = append(exports, transit.Export{Key: v.Export})
	}
	s, err := transit.New(exports...)
	require.NoError(t, err)
	return s
}

func TestSuite(t *testing.T) {
	t.Parallel()
	legacytest.Run(t, func(t *testing.T) legacytest.Subject {
		bare, err := transit.New()
		require.NoError(t, err)
		s := legacytest.Subject{Source: source(t, openable(t)), Bare: bare}
		for _, bad := range badCiphertexts {
			s.Foreign = append(s.Foreign, []byte(bad))
		}
		for _, v := range openable(t) {
			for _, m := range v.Messages {
				s.Known = append(s.Known, legacytest.Known{KeyID: legacy.NameID(transit.Scheme, v.data(t).Name),
					Ciphertext: []byte(m.Ciphertext), EncryptionContext: contextOf(m.AssociatedData), Plaintext: m.Plaintext})
			}
		}
		return s
	})
}

// TestVectorsMadeAgain: what Go's libraries make of the parts of a vector is the ciphertext.
// GODEBUG=fips140=only takes no nonce from outside, and no ChaCha, and so is off meanwhile.
func TestVectorsMadeAgain(t *testing.T) {
	t.Parallel()
	for _, v := range vectors.Read[vector](t) {
		data := v.data(t)
		for _, m := range v.Messages {
			fips140.WithoutEnforcement(func() {
				sealed := aeadOf(t, data.Type, data.Keys[fmt.Sprint(m.Version)]).Seal(m.Nonce, m.Nonce, m.Plaintext, []byte(m.AssociatedData))
				require.Equal(t, m.Ciphertext, fmt.Sprintf("vault:v%d:%s", m.Version, base64.StdEncoding.EncodeToString(sealed)))
			})
		}
	}
}

func aeadOf(t testing.TB, kind string, key []byte) (a cipher.AEAD) {
	var err error
	switch kind {
	case "chacha20-poly1305":
		a, err = chacha20poly1305.New(key)
	case "xchacha20-poly1305":
		a, err = chacha20poly1305.NewX(key)
	default:
		var block cipher.Block
		block, err = aes.NewCipher(key)
		require.NoError(t, err)
		a, err = cipher.NewGCM(block)
	}
	require.NoError(t, err)
	return a
}

// TestEveryType: keys of each type open what Go's libraries made; those that the program does
// not open as it runs are told as such.
func TestEveryType(t *testing.T) {
	t.Parallel()
	for kind, size := range map[string]int{"aes128-gcm96": 16, "aes256-gcm96": 32, "chacha20-poly1305": 32, "xchacha20-poly1305": 32} {
		key := make([]byte, size)
		key[3] = 7
		s, err := transit.New(transit.Export{Key: fmt.Appendf(nil, `{"name":"n","type":%q,"keys":{"1":%q}}`, kind, base64.StdEncoding.EncodeToString(key))})
		require.NoError(t, err)
		var sealed []byte
		fips140.WithoutEnforcement(func() {
			a := aeadOf(t, kind, key)
			nonce := make([]byte, a.NonceSize())
			sealed = a.Seal(nonce, nonce, []byte("plaintext"), []byte("data"))
		})
		c := []byte("vault:v1:" + base64.StdEncoding.EncodeToString(sealed))
		for k, err := range s.Keys(t.Context()) {
			require.NoError(t, err)
			o, err := s.Open("v1", k.Versions[0].Material())
			if fips140.Enforced() && !strings.HasPrefix(kind, "aes") {
				require.ErrorIs(t, err, legacy.ErrUnsupported)
				continue
			}
			require.NoError(t, err)
			plaintext, err := o.Decrypt(c, contextOf("data"))
			require.NoError(t, err)
			require.Equal(t, "plaintext", string(plaintext))
			for n := range sealed {
				_, err := o.Decrypt([]byte("vault:v1:"+base64.StdEncoding.EncodeToString(sealed[:n])), contextOf("data"))
				require.ErrorIs(t, err, legacy.ErrCiphertext)
			}
		}
	}
}
