package arguments_test

import (
	"bytes"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/cleartext"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/internal/tinkkeys"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/legacy/tinkset"
	"github.com/keyhold/kms/legacy/transit"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

// A call that takes the bytes of a key as they are, or as a secret that somebody remembers.
type taker struct {
	sizes []int // that it takes, if the bytes differ
	take  func(t *testing.T, b []byte) error
	want  error
}

// longest is the longest key of equal bytes that is tried.
const longest = 66

func takers(t *testing.T) map[string]taker {
	t.Helper()
	all := map[string]taker{
		"software.NewRoot": {[]int{32}, func(_ *testing.T, b []byte) error { return errOf(software.NewRoot(b)) }, software.ErrRootKey},
		"keyring.New": {[]int{16, 24, 32}, func(_ *testing.T, b []byte) error {
			version := keyring.NewVersion("8bc5dc61-4fcb-4d36-8a92-c32a6c3c48e2", time.Now(), b)
			return errOf(keyring.New(legacy.Key{ID: "cfb41abe-c92d-4a24-9b45-5d1d5cd5a9a6", Versions: []legacy.Version{version}}))
		}, keyring.ErrKeys},
		"tinkset.New, XAES": {[]int{32}, func(t *testing.T, b []byte) error {
			if len(b) != 32 {
				return tinkset.ErrKeyset // Tink makes no such key
			}
			h := tinkkeys.Handle(t, tinkkeys.XAES(t, b, xaesgcm.VariantNoPrefix, 12))
			return errOf(tinkset.New(tinkset.Keyset{Name: "name", Handle: h}))
		}, tinkset.ErrKeyset},
		"tinkset.New, AES-GCM": {[]int{16, 32}, func(t *testing.T, b []byte) error {
			params, err := aesgcm.NewParameters(aesgcm.ParametersOpts{KeySizeInBytes: len(b), IVSizeInBytes: 12, TagSizeInBytes: 16, Variant: aesgcm.VariantNoPrefix})
			if err != nil {
				return tinkset.ErrKeyset
			}
			k, err := aesgcm.NewKey(cleartext.Secret(b), 0, params)
			require.NoError(t, err)
			return errOf(tinkset.New(tinkset.Keyset{Name: "name", Handle: tinkkeys.Handle(t, k)}))
		}, tinkset.ErrKeyset},
	}
	if !fips140.Enforced() {
		all["software.NewRootFromPassphrase"] = taker{[]int{12, 32}, func(_ *testing.T, b []byte) error {
			return errOf(software.NewRootFromPassphrase(b))
		}, software.ErrPassphrase}
	}
	for name, size := range map[string]int{"aes128-gcm96": 16, "aes256-gcm96": 32, "chacha20-poly1305": 32, "xchacha20-poly1305": 32} {
		all["transit.New, "+name] = taker{[]int{size}, func(t *testing.T, b []byte) error {
			export, err := json.Marshal(map[string]any{"name": "n", "type": name, "keys": map[string]string{"1": base64.StdEncoding.EncodeToString(b)}})
			require.NoError(t, err)
			return errOf(transit.New(transit.Export{Key: export}))
		}, transit.ErrExport}
	}
	// The asymmetric specs take no raw bytes: there is no sound size.
	for spec, size := range map[provider.Spec]int{provider.AES256: 32, provider.HMAC256: 32, provider.HMAC384: 48, provider.HMAC512: 64,
		provider.RSA2048: 0, provider.ECP256: 0, provider.ECP384: 0, provider.Ed25519: 0} {
		use := spec.Uses()[0]
		row := taker{nil, func(t *testing.T, b []byte) error {
			return errOf(software.New().Import(t.Context(), "id", spec, use, b))
		}, provider.ErrUnsupported}
		if size > 0 {
			row.sizes = []int{size}
		}
		all[fmt.Sprintf("software.Provider.Import, %s", spec)] = row
	}
	importers(t, all)
	return all
}

// importers adds ImportKeyMaterial, into keys of every spec that takes bytes, and WrapForImport.
func importers(t *testing.T, all map[string]taker) {
	k := kmstest.New(t)
	for spec, size := range map[kms.Spec]int{kms.SpecAES256: 32, kms.SpecHMAC256: 32, kms.SpecHMAC384: 48, kms.SpecHMAC512: 64} {
		key, err := k.CreateKey(t.Context(), &kms.CreateKeyOptions{Spec: spec, Origin: kms.OriginExternal})
		require.NoError(t, err)
		p, err := kit.ImportParameters(t.Context(), k.Manager, k.Store, k.Root, key.ID, k.Clock.Now())
		require.NoError(t, err)
		parsed, err := x509.ParsePKIXPublicKey(p.PublicKey)
		require.NoError(t, err)
		all["WrapForImport, "+string(spec)] = taker{[]int{size}, func(_ *testing.T, b []byte) error {
			return errOf(kms.WrapForImport(p, b))
		}, kms.ErrInvalid}
		all["ImportKeyMaterial, "+string(spec)] = taker{[]int{size}, func(t *testing.T, b []byte) error {
			wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, parsed.(*rsa.PublicKey), b, nil)
			require.NoError(t, err)
			return errOf(k.ImportKeyMaterial(t.Context(), key.ID, wrapped, p.Token, time.Time{}))
		}, kms.ErrMaterial}
	}
}

// TestUnfilled: no call takes a key whose bytes are all the same, of any value and any length; and
// each takes one whose bytes differ.
func TestUnfilled(t *testing.T) {
	t.Parallel()
	for name, call := range takers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for value := range 256 {
				for n := range longest {
					// Other lengths are refused for their length: two values of each are enough.
					if value > 1 && !bytes.Contains(lengths(call.sizes), []byte{byte(n)}) {
						continue
					}
					require.ErrorIs(t, call.take(t, bytes.Repeat([]byte{byte(value)}, n)), call.want, "%d bytes of %#x", n, value)
				}
			}
			for _, n := range call.sizes {
				require.NoError(t, call.take(t, kit.Pattern(n)), "%d bytes that differ", n)
			}
		})
	}
}

func lengths(sizes []int) (b []byte) {
	for _, n := range sizes {
		b = append(b, byte(n))
	}
	return b
}

// TestUnfilledInToken: so does a token.
func TestUnfilledInToken(t *testing.T) {
	_, token := kit.OpenToken(t)
	for spec, size := range map[provider.Spec]int{provider.AES256: 32, provider.HMAC256: 32, provider.HMAC512: 64} {
		use := spec.Uses()[0]
		for value := range 256 {
			_, err := token.Import(t.Context(), "id", spec, use, bytes.Repeat([]byte{byte(value)}, size))
			require.ErrorIs(t, err, provider.ErrUnsupported, "%s of %#x", spec, value)
		}
		material, err := token.Import(t.Context(), "id", spec, use, kit.Pattern(size))
		require.NoError(t, err, spec)
		require.NoError(t, token.Destroy(t.Context(), "id", material))
	}
}
