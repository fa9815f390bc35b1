package wrapping_test

import (
	"bytes"
	"crypto/aes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/kwp"
	"github.com/keyhold/kms/internal/wrapping"
)

func newWrappingKey(t *testing.T) (*rsa.PrivateKey, []byte) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return private, der
}

func oaep(t *testing.T, private *rsa.PrivateKey, content []byte) []byte {
	t.Helper()
	block, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &private.PublicKey, content, nil)
	require.NoError(t, err)
	return block
}

func ecb(t *testing.T, key, padded []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	out := make([]byte, len(padded))
	for at := 0; at < len(padded); at += aes.BlockSize {
		block.Encrypt(out[at:], padded[at:])
	}
	return out
}

// TestSameSteps: whatever is wrong with a wrapping, Unwrap takes the steps that it takes for a right
// one of that length, and no fewer.
func TestSameSteps(t *testing.T) {
	t.Parallel()
	private, der := newWrappingKey(t)
	key, material := make([]byte, 32), make([]byte, 45)
	rand.Read(key)
	rand.Read(material)
	second := map[wrapping.Scheme][]byte{wrapping.OAEP: nil, wrapping.AESECB: ecb(t, key, append(bytes.Clone(material), 3, 3, 3))}
	var err error
	second[wrapping.AESKeyWrap], err = kwp.Wrap(key, material)
	require.NoError(t, err)

	steps := map[wrapping.Scheme][]string{
		wrapping.OAEP:       {"OAEP"},
		wrapping.AESKeyWrap: {"OAEP", "the second part"},
		wrapping.AESECB:     {"OAEP", "the second part"},
	}
	for scheme, want := range steps {
		content := key
		if scheme == wrapping.OAEP {
			content = material
		}
		right := append(oaep(t, private, content), second[scheme]...)
		cases := map[string][]byte{"right": right}
		authenticated := right
		if scheme == wrapping.AESECB { // its second part is not; what is seen of it is the padding
			authenticated = right[:private.Size()]
			cases["a wrong padding"] = append(oaep(t, private, key), ecb(t, key, append(bytes.Clone(material), 3, 4, 3))...)
		}
		for at := 0; at < len(authenticated); at += 16 {
			wrong := bytes.Clone(right)
			wrong[at] ^= 1
			cases[fmt.Sprint("another byte at ", at)] = wrong
		}
		for _, size := range []int{0, 16, 24, 31, 33} {
			if scheme != wrapping.OAEP {
				cases[fmt.Sprintf("a key of %d bytes", size)] = append(oaep(t, private, make([]byte, size)), second[scheme]...)
			}
		}
		cases["no OAEP at all"] = append(make([]byte, private.Size()), second[scheme]...)
		if scheme != wrapping.OAEP {
			other := make([]byte, 32)
			rand.Read(other)
			cases["another key"] = append(oaep(t, private, other), second[scheme]...)
		}
		for name, wrapped := range cases {
			var taken []string
			got, ok := wrapping.Counted(func(step string) { taken = append(taken, step) })(scheme, der, wrapped)
			require.Equal(t, want, taken, "scheme %d, %s", scheme, name)
			if name == "right" {
				require.True(t, ok)
				require.Equal(t, material, got)
				continue
			}
			require.False(t, ok, "scheme %d, %s", scheme, name)
			require.Nil(t, got, "nothing of what was unwrapped is handed out")
		}
	}
	_, ok := wrapping.Unwrap(wrapping.OAEP, der, append(oaep(t, private, material), 0))
	require.False(t, ok, "a byte too many")
	_, ok = wrapping.Unwrap(0, der, oaep(t, private, material))
	require.False(t, ok, "no scheme")
	_, ok = wrapping.Unwrap(wrapping.AESKeyWrap, der, oaep(t, private, material))
	require.False(t, ok, "no second part")
}

// TestKeyThatUnwrapsAnyway: content that a key of the wrong size would unwrap is refused, and so is
// content under an all-zero key behind a block whose OAEP is wrong.
func TestKeyThatUnwrapsAnyway(t *testing.T) {
	t.Parallel()
	private, der := newWrappingKey(t)
	material := make([]byte, 32)
	rand.Read(material)
	for _, size := range []int{16, 24} {
		second, err := kwp.Wrap(make([]byte, size), material)
		require.NoError(t, err)
		_, ok := wrapping.Unwrap(wrapping.AESKeyWrap, der, append(oaep(t, private, make([]byte, size)), second...))
		require.False(t, ok)
	}
	second, err := kwp.Wrap(make([]byte, 32), material)
	require.NoError(t, err)
	_, ok := wrapping.Unwrap(wrapping.AESKeyWrap, der, append(make([]byte, private.Size()), second...))
	require.False(t, ok)
}

// TestPadding: PKCS #7 of 1 to 16 equal bytes, and no other last block.
func TestPadding(t *testing.T) {
	t.Parallel()
	private, der := newWrappingKey(t)
	key := make([]byte, 32)
	rand.Read(key)
	first := oaep(t, private, key)
	for n := range 256 {
		padded := make([]byte, 32)
		rand.Read(padded)
		for i := 1; i <= max(1, min(n, 32)); i++ {
			padded[32-i] = byte(n)
		}
		got, ok := wrapping.Unwrap(wrapping.AESECB, der, append(bytes.Clone(first), ecb(t, key, padded)...))
		require.Equal(t, n >= 1 && n <= 16, ok, n)
		if !ok {
			continue
		}
		require.Equal(t, padded[:32-n], got)
		for i := 2; i <= n; i++ {
			bad := bytes.Clone(padded)
			bad[32-i] ^= 0x40
			_, ok := wrapping.Unwrap(wrapping.AESECB, der, append(bytes.Clone(first), ecb(t, key, bad)...))
			require.False(t, ok, "%d, and byte %d is another", n, i)
		}
	}
}

// TestToken: a token comes back as it was, in any time zone and to the nanosecond, and nothing else is
// one.
func TestToken(t *testing.T) {
	t.Parallel()
	id, ok := keyid.Parse("01890a5d-ac96-774b-bcce-b302099a8057")
	require.True(t, ok)
	for _, at := range []time.Time{time.Unix(0, 0), time.Unix(-1, 999_999_999), time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)),
		time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)} {
		for _, scheme := range []wrapping.Scheme{wrapping.OAEP, wrapping.AESKeyWrap, wrapping.AESECB} {
			token := wrapping.Token{Key: id, Scheme: scheme, ExpiresAt: at, Private: []byte("a private key")}
			b := token.Encode()
			got, ok := wrapping.DecodeToken(b)
			require.True(t, ok)
			token.ExpiresAt = at.UTC()
			require.Equal(t, token, got)
			clear(b)
			require.Equal(t, make([]byte, len(token.Private)), got.Private, "to wipe the bytes wipes the private key")
		}
	}
	sound := wrapping.Token{Key: id, Scheme: wrapping.OAEP, ExpiresAt: time.Unix(1, 0), Private: []byte{1}}.Encode()
	for n := range sound {
		_, ok := wrapping.DecodeToken(sound[:n])
		require.False(t, ok, "%d bytes", n)
	}
	for at, values := range map[int][]byte{16: {0, 4, 255}, 25: {0x3c, 0xff}} { // the scheme; more than a second of nanoseconds
		for _, value := range values {
			bad := bytes.Clone(sound)
			bad[at] = value
			_, ok := wrapping.DecodeToken(bad)
			require.False(t, ok, "byte %d is %d", at, value)
		}
	}
}

// TestUnfilledMaterial: no form takes bytes that are all the same, of whatever value and length, and
// no private key whose secret is such bytes.
func TestUnfilledMaterial(t *testing.T) {
	t.Parallel()
	forms := []wrapping.Form{{Bytes: 16}, {Bytes: 24}, {Bytes: 32}, {Bytes: 48}, {Bytes: 64}, {RSABits: 2048}, {Curve: "P-256"}, {Curve: "P-384"}, {Curve: "Ed25519"}}
	for value := range 256 {
		for n := range 66 {
			for _, form := range forms {
				_, _, ok := form.Read(bytes.Repeat([]byte{byte(value)}, n))
				require.False(t, ok, "%d bytes of %#x as %+v", n, value, form)
			}
		}
		var private []any
		private = append(private, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(value)}, ed25519.SeedSize)))
		for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
			if k, err := ecdsa.ParseRawPrivateKey(curve, bytes.Repeat([]byte{byte(value)}, curve.Params().BitSize/8)); err == nil {
				private = append(private, k)
			}
		}
		if value > 0 && value < 255 {
			require.Len(t, private, 3)
		}
		for _, k := range private {
			der, err := x509.MarshalPKCS8PrivateKey(k)
			require.NoError(t, err)
			for _, form := range forms[5:] { // to the others it is bytes
				_, _, ok := form.Read(der)
				require.False(t, ok, "%T of %#x as %+v", k, value, form)
			}
		}
	}
	for _, form := range forms[:5] {
		b := make([]byte, form.Bytes)
		b[form.Bytes-1] = 1
		_, _, ok := form.Read(b)
		require.True(t, ok)
	}
}
