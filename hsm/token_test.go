//go:build cgo

package hsm_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/provider"
)

// Every Root is what Tink calls an AEAD.
var _ tink.AEAD = (*hsm.Root)(nil)

func TestConfig(t *testing.T) {
	pin := func() (string, error) { return "1234", nil }
	for _, cfg := range []hsm.Config{
		{},
		{TokenLabel: "kms", PIN: pin},
		{Module: "m", PIN: pin},
		{Module: "m", TokenLabel: "kms", Serial: "1", PIN: pin},
		{Module: "m", TokenLabel: "kms"},
		{Module: "m", TokenLabel: "kms", PIN: pin, MaxSessions: 1},
		{Module: "m", TokenLabel: "kms", PIN: pin, MaxSessions: 257},
		{Module: "m", TokenLabel: "kms", PIN: pin, MaxSessions: -1},
	} {
		_, err := hsm.Open(t.Context(), cfg)
		require.ErrorIs(t, err, hsm.ErrConfig)
	}
	_, err := hsm.Open(t.Context(), hsm.Config{Module: filepath.Join(t.TempDir(), "none.so"), TokenLabel: "kms", PIN: pin})
	require.ErrorIs(t, err, provider.ErrUnavailable)
}

func TestNoSuchToken(t *testing.T) {
	tk := softHSM(t)
	tk.Label = "another"
	_, err := hsm.Open(t.Context(), tk.config())
	require.ErrorIs(t, err, provider.ErrUnavailable)
}

// TestClosed: a Token that was closed does nothing more, and another one can be opened.
func TestClosed(t *testing.T) {
	tk := anyToken(t)
	token, err := hsm.Open(t.Context(), tk.config())
	require.NoError(t, err)
	m, err := token.Generate(t.Context(), "closed", provider.AES256, provider.UseEncrypt)
	require.NoError(t, err)
	k, err := token.Open(t.Context(), "closed", provider.AES256, m)
	require.NoError(t, err)
	sealed, err := k.Encrypt(t.Context(), nil, []byte("x"), nil)
	require.NoError(t, err)
	root, err := token.CreateRoot(t.Context(), "closed root")
	require.NoError(t, err)
	under, err := root.Encrypt([]byte("x"), nil)
	require.NoError(t, err)
	require.NoError(t, token.Close())
	require.NoError(t, token.Close())
	_, err = k.Encrypt(t.Context(), nil, nil, nil)
	require.ErrorIs(t, err, provider.ErrUnavailable)
	_, err = token.Generate(t.Context(), "closed", provider.AES256, provider.UseEncrypt)
	require.ErrorIs(t, err, provider.ErrUnavailable)
	require.ErrorIs(t, token.Destroy(t.Context(), "closed", m), provider.ErrUnavailable)
	var all sync.WaitGroup
	for range 4 { // nobody gets bytes from it any more
		all.Go(func() {
			for name, use := range map[string]func() ([]byte, error){
				"Encrypt": func() ([]byte, error) { return k.Encrypt(t.Context(), nil, []byte("x"), nil) },
				"Decrypt": func() ([]byte, error) { return k.Decrypt(t.Context(), nil, sealed, nil) },
				"Import": func() ([]byte, error) {
					return token.Import(t.Context(), "i", provider.AES256, provider.UseEncrypt, []byte("a key of 32 bytes, of many kinds"))
				},
				"Root.Encrypt": func() ([]byte, error) { return root.Encrypt([]byte("x"), nil) },
				"Root.Decrypt": func() ([]byte, error) { return root.Decrypt(under, nil) },
			} {
				if b, err := use(); b != nil || !errors.Is(err, provider.ErrUnavailable) {
					t.Errorf("%s after Close: %d bytes, %v", name, len(b), err)
				}
			}
		})
	}
	all.Wait()

	again := tk.open(t)
	_, err = again.Open(t.Context(), "closed", provider.AES256, m)
	require.NoError(t, err)
	require.NoError(t, again.Destroy(t.Context(), "closed", m))
}

// TestGone: a key that somebody destroyed is gone; one in a token that is away is not.
func TestGone(t *testing.T) {
	tk := softHSM(t)
	token := tk.open(t)
	m, err := token.Generate(t.Context(), "gone", provider.AES256, provider.UseEncrypt)
	require.NoError(t, err)
	k, err := token.Open(t.Context(), "gone", provider.AES256, m)
	require.NoError(t, err)
	sealed, err := k.Encrypt(t.Context(), nil, nil, nil)
	require.NoError(t, err)

	away := tk.Folder + ".away"
	require.NoError(t, os.Rename(tk.Folder, away))
	require.ErrorIs(t, token.Destroy(t.Context(), "gone", m), provider.ErrUnavailable, "not reported as done")
	_, err = k.Decrypt(t.Context(), nil, sealed, nil)
	require.ErrorIs(t, err, provider.ErrUnavailable)
	_, err = token.Open(t.Context(), "gone", provider.AES256, m)
	require.ErrorIs(t, err, provider.ErrUnavailable)
	require.NoError(t, os.Rename(away, tk.Folder))
	require.Eventually(t, func() bool { _, err := k.Decrypt(t.Context(), nil, sealed, nil); return err == nil }, soon, tick)

	out, err := tk.pkcs11Tool(t, "--delete-object", "--type", "secrkey", "--label", "keyhold:gone")
	require.NoError(t, err, out)
	_, err = k.Decrypt(t.Context(), nil, sealed, nil)
	require.ErrorIs(t, err, provider.ErrNoKey)
	_, err = token.Open(t.Context(), "gone", provider.AES256, m)
	require.ErrorIs(t, err, provider.ErrNoKey)
	require.NoError(t, token.Destroy(t.Context(), "gone", m))
}

// TestAnotherToken: a token of the same name that has other objects says that the key is elsewhere,
// and not that it was destroyed.
func TestAnotherToken(t *testing.T) {
	tk := softHSM(t)
	first, err := hsm.Open(t.Context(), tk.config())
	require.NoError(t, err)
	m, err := first.Generate(t.Context(), "first", provider.AES256, provider.UseEncrypt)
	require.NoError(t, err)
	require.NoError(t, first.Close())

	second := softHSM(t).open(t)
	_, err = second.Open(t.Context(), "first", provider.AES256, m)
	for _, err := range []error{err, second.Destroy(t.Context(), "first", m)} {
		require.ErrorIs(t, err, provider.ErrElsewhere)
		require.ErrorIs(t, err, provider.ErrUnavailable)
		require.NotErrorIs(t, err, provider.ErrNoKey)
	}
}

// TestReplacedToken: when another token takes the name while a Token is open, it is not used.
func TestReplacedToken(t *testing.T) {
	tk, shim := shimmed(t)
	token := tk.open(t)
	k := opened(t, token, "replaced")
	require.NoError(t, os.RemoveAll(tk.Folder))
	tk.Make(t)
	shim.does(t, "C_EncryptInit rv=0x30 times=1")
	_, err := k.Encrypt(t.Context(), nil, nil, nil)
	require.ErrorIs(t, err, provider.ErrUnavailable)
	_, err = token.Generate(t.Context(), "new", provider.AES256, provider.UseEncrypt)
	require.ErrorIs(t, err, provider.ErrUnavailable)
}

// TestDestroyed: what was destroyed another program does not see.
func TestDestroyed(t *testing.T) {
	tk := softHSM(t)
	token := tk.open(t)
	for spec, use := range map[provider.Spec]provider.Use{provider.AES256: provider.UseEncrypt, provider.HMAC256: provider.UseMac,
		provider.ECP256: provider.UseSign, provider.RSA2048: provider.UseDecrypt} {
		m, err := token.Generate(t.Context(), "destroyed", spec, use)
		require.NoError(t, err)
		require.Contains(t, tk.listed(t), "keyhold:destroyed")
		require.NoError(t, token.Destroy(t.Context(), "destroyed", m))
		out, err := tk.pkcs11Tool(t, "--list-objects")
		require.NoError(t, err)
		require.NotContains(t, out, "keyhold:destroyed", "neither half of it")
		_, err = token.Open(t.Context(), "destroyed", spec, m)
		require.ErrorIs(t, err, provider.ErrNoKey)
	}
}

// TestImport: an imported key is that key: what it makes the standard library understands.
func TestImport(t *testing.T) {
	token := anyToken(t).open(t)
	for _, c := range []struct {
		spec provider.Spec
		use  provider.Use
	}{
		{provider.AES256, provider.UseEncrypt}, {provider.HMAC256, provider.UseMac}, {provider.HMAC512, provider.UseMac},
		{provider.ECP256, provider.UseSign}, {provider.ECP384, provider.UseSign}, {provider.RSA2048, provider.UseSign}, {provider.RSA2048, provider.UseDecrypt},
	} {
		raw := ownKey(t, c.spec)
		kept := bytes.Clone(raw)
		m, err := token.Import(t.Context(), "imported", c.spec, c.use, raw)
		require.NoError(t, err, c.spec)
		require.Equal(t, kept, raw, "the input is unchanged")
		k, err := token.Open(t.Context(), "imported", c.spec, m)
		require.NoError(t, err)
		switch k := k.(type) {
		case provider.MAC:
			alg := map[provider.Spec]provider.MacAlgorithm{provider.HMAC256: provider.MacHMACSHA256, provider.HMAC512: provider.MacHMACSHA512}[c.spec]
			got, err := k.GenerateMac(t.Context(), alg, []byte("message"))
			require.NoError(t, err)
			require.Equal(t, macOf(c.spec, raw, []byte("message")), got)
		case provider.Signer:
			samePublic(t, raw, k)
		case provider.AsymmetricDecrypter:
			public := samePublic(t, raw, k).(*rsa.PublicKey)
			sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, []byte("plaintext"), nil)
			require.NoError(t, err)
			got, err := k.DecryptOAEP(t.Context(), sealed)
			require.NoError(t, err)
			require.Equal(t, "plaintext", string(got))
		default:
			sealed, err := k.Encrypt(t.Context(), nil, []byte("plaintext"), []byte("ad"))
			require.NoError(t, err)
			require.Equal(t, append(make([]byte, 32), "plaintext"...), openGCM(t, raw, sealed, []byte("ad")))
		}
		require.NoError(t, token.Destroy(t.Context(), "imported", m))
	}
	for _, spec := range []provider.Spec{provider.AES256, provider.HMAC384, provider.ECP256, provider.RSA2048} {
		for _, bad := range [][]byte{nil, {}, {1}, random(31), random(100), ownKey(t, provider.ECP384)} {
			_, err := token.Import(t.Context(), "bad", spec, spec.Uses()[0], bad)
			require.ErrorIs(t, err, provider.ErrUnsupported)
		}
	}
	objects, err := token.Orphans(t.Context(), func(string) bool { return false })
	require.NoError(t, err)
	require.Empty(t, objects, "nothing is left")
}

func samePublic(t *testing.T, der []byte, k interface {
	PublicKey(context.Context) ([]byte, error)
}) any {
	t.Helper()
	private, err := x509.ParsePKCS8PrivateKey(der)
	require.NoError(t, err)
	spki, err := k.PublicKey(t.Context())
	require.NoError(t, err)
	public, err := x509.ParsePKIXPublicKey(spki)
	require.NoError(t, err)
	switch p := private.(type) {
	case *ecdsa.PrivateKey:
		require.True(t, p.PublicKey.Equal(public))
	case *rsa.PrivateKey:
		require.True(t, p.PublicKey.Equal(public))
	}
	return public
}

// TestRoot: a root seals, opens, and is the same when it is asked for again, also by many at once.
func TestRoot(t *testing.T) {
	token := anyToken(t).open(t)
	name := "root-" + hex.EncodeToString(random(8))
	roots := make([]*hsm.Root, 8)
	var wg sync.WaitGroup
	for i := range roots {
		wg.Go(func() {
			root, err := token.CreateRoot(t.Context(), name)
			if errors.Is(err, fs.ErrExist) {
				root, err = token.Root(t.Context(), name)
			}
			assert.NoError(t, err)
			roots[i] = root
		})
	}
	wg.Wait()
	sealed, err := roots[0].Encrypt([]byte("plaintext"), []byte("ad"))
	require.NoError(t, err)
	require.Len(t, sealed, len("plaintext")+77)
	for _, root := range roots {
		got, err := root.Decrypt(sealed, []byte("ad"))
		require.NoError(t, err)
		require.Equal(t, "plaintext", string(got))
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		_, err := roots[0].Decrypt(bad, []byte("ad"))
		require.ErrorIs(t, err, provider.ErrCiphertext)
		_, err = roots[0].Decrypt(sealed[:i], []byte("ad"))
		require.ErrorIs(t, err, provider.ErrCiphertext)
	}
	_, err = roots[0].Decrypt(sealed, nil)
	require.ErrorIs(t, err, provider.ErrCiphertext)
	for range 2 { // asking does not make it
		_, err = token.Root(t.Context(), name+"-other")
		require.ErrorIs(t, err, provider.ErrNoKey)
		require.ErrorContains(t, err, "CreateRoot")
	}
	_, err = token.CreateRoot(t.Context(), name)
	require.ErrorIs(t, err, fs.ErrExist)
	other, err := token.CreateRoot(t.Context(), name+"-other")
	require.NoError(t, err)
	_, err = other.Decrypt(sealed, []byte("ad"))
	require.ErrorIs(t, err, provider.ErrCiphertext)
	for _, bad := range []string{"", strings.Repeat("x", 101)} {
		_, err = token.Root(t.Context(), bad)
		require.Error(t, err)
		_, err = token.CreateRoot(t.Context(), bad)
		require.Error(t, err)
	}
}

// TestOrphans: a key that nobody keeps is listed, so are twins, and nothing is destroyed.
func TestOrphans(t *testing.T) {
	token := anyToken(t).open(t)
	var materials [][]byte
	for _, id := range []string{"kept/1", "orphan/1", "twin/1", "twin/1"} {
		m, err := token.Generate(t.Context(), id, provider.AES256, provider.UseEncrypt)
		require.NoError(t, err)
		materials = append(materials, m)
	}
	for range 2 {
		orphans, err := token.Orphans(t.Context(), func(id string) bool { return id != "orphan/1" })
		require.NoError(t, err)
		require.Len(t, orphans, 3)
		for _, o := range orphans {
			require.Len(t, o.CKAID, 32)
			require.Equal(t, o.ID == "twin/1", o.Twin)
		}
	}
	for i, id := range []string{"kept/1", "orphan/1", "twin/1", "twin/1"} {
		require.NoError(t, token.Destroy(t.Context(), id, materials[i]))
	}
}

func TestHealth(t *testing.T) {
	tk := anyToken(t)
	h, err := tk.open(t).Health(t.Context())
	require.NoError(t, err)
	require.Equal(t, tk.Label, h.Label)
	require.NotEmpty(t, h.Manufacturer)
	require.Equal(t, 1, h.Busy)
	require.Equal(t, 16, h.Most)
	require.Equal(t, 1, h.Connections)
}

// TestNoPINIsPrinted: no printer reaches the PIN, by whatever it is asked to print.
func TestNoPINIsPrinted(t *testing.T) {
	tk := softHSM(t)
	wrong := tk.config()
	wrong.PIN = func() (string, error) { return "canary-" + tk.PIN, nil }
	_, refusal := hsm.Open(t.Context(), wrong)
	require.ErrorIs(t, refusal, hsm.ErrCredentials)
	token := tk.open(t)
	k := opened(t, token, "print")
	root, err := token.CreateRoot(t.Context(), "print")
	require.NoError(t, err)
	for name, v := range map[string]any{"token": token, "key": k, "root": root, "config": tk.config(), "error": refusal} {
		var out strings.Builder
		for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
			for _, flags := range []string{"", "+", "#"} {
				fmt.Fprintf(&out, "%"+flags+string(verb)+"\n", v)
			}
		}
		r := &recorder{}
		assert.Equal(r, []any{v}, []any{"something else"})
		out.WriteString(r.String())
		b, _ := json.Marshal(v)
		out.Write(b)
		for _, form := range []string{tk.PIN, hex.EncodeToString([]byte(tk.PIN)), base64.StdEncoding.EncodeToString([]byte(tk.PIN))} {
			require.NotContains(t, out.String(), form, name)
		}
	}
}

// recorder is a testing.T for testify that keeps what it would have printed.
type recorder struct{ bytes.Buffer }

func (r *recorder) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

// TestTwoTokens: two Tokens on one module come back when somebody finalised it, and the one goes on
// when the other is closed.
func TestTwoTokens(t *testing.T) {
	tk := anyToken(t)
	a, err := hsm.Open(t.Context(), tk.config())
	require.NoError(t, err)
	b := tk.open(t)
	other, k := opened(t, a, "one"), opened(t, b, "two")
	p := pkcs11.New(tk.Module)
	require.NotNil(t, p)
	defer p.Destroy()
	require.NoError(t, p.Finalize())
	for _, k := range []provider.Key{k, other, k} {
		require.Eventually(t, func() bool { _, err := k.Encrypt(t.Context(), nil, nil, nil); return err == nil }, soon, tick)
	}
	require.NoError(t, a.Close())
	_, err = k.Encrypt(t.Context(), nil, nil, nil)
	require.NoError(t, err)
}

// soon is how long something may take that has to happen, and tick how often it is looked for.
const (
	soon = 5 * time.Second
	tick = time.Millisecond
)

// macOf is the MAC by the standard library.
func macOf(spec provider.Spec, key, message []byte) []byte {
	h := hmac.New(map[provider.Spec]func() hash.Hash{provider.HMAC256: sha256.New, provider.HMAC512: sha512.New}[spec], key)
	h.Write(message)
	return h.Sum(nil)
}

// openGCM opens a ciphertext of a hardware key with the key itself.
func openGCM(t *testing.T, key, sealed, ad []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	var opened []byte
	fips140.WithoutEnforcement(func() {
		gcm, failed := cipher.NewGCM(block)
		require.NoError(t, failed)
		opened, err = gcm.Open(nil, sealed[:12], sealed[12:], ad)
	})
	require.NoError(t, err)
	return opened
}
