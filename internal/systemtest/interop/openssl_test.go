// Package interop_test has other programs check what the service makes.
package interop_test

import (
	"crypto"
	"crypto/rsa"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// tryOpenSSL runs the command line tool in a folder, where it may refuse. It has to be there.
func tryOpenSSL(t *testing.T, folder string, args ...string) (string, error) {
	t.Helper()
	program, err := exec.LookPath("openssl")
	require.NoError(t, err, "this test needs the openssl command: apt-get install openssl")
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestOpenSSLVerifies: openssl reads our public keys and finds our signatures valid, and
// tampered ones not.
func TestOpenSSLVerifies(t *testing.T) {
	pss := []string{"-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"}
	for _, c := range []struct {
		spec  kms.Spec
		opts  crypto.SignerOpts
		flags []string
	}{
		{kms.SpecECP256, crypto.SHA256, []string{"-sha256"}},
		{kms.SpecECP384, crypto.SHA384, []string{"-sha384"}},
		{kms.SpecEd25519, crypto.Hash(0), nil},
		{kms.SpecRSA2048, crypto.SHA512, []string{"-sha512"}},
		{kms.SpecRSA2048, &rsa.PSSOptions{Hash: crypto.SHA256}, append([]string{"-sha256"}, pss...)},
	} {
		t.Run(string(c.spec), func(t *testing.T) {
			t.Parallel()
			folder, k := t.TempDir(), kmstest.New(t)
			write := func(name string, b []byte) {
				require.NoError(t, os.WriteFile(filepath.Join(folder, name), b, 0o600))
			}
			id := kit.Key(t, k, c.spec, "")
			p, err := k.GetPublicKey(t.Context(), id)
			require.NoError(t, err)
			s, err := k.Signer(t.Context(), id)
			require.NoError(t, err)
			message := []byte("attack at dawn")
			made, err := s.(crypto.MessageSigner).SignMessage(nil, message, c.opts)
			require.NoError(t, err)
			write("key.pem", []byte(p.PEM()))
			write("message", message)
			write("signature", made)
			write("other", []byte("attack at dusk"))

			out, err := tryOpenSSL(t, folder, "pkey", "-pubin", "-in", "key.pem", "-noout", "-text")
			require.NoError(t, err, out)
			verify := func(message string) (string, error) {
				if c.flags == nil {
					return tryOpenSSL(t, folder, "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", message, "-sigfile", "signature")
				}
				args := append([]string{"dgst"}, c.flags...)
				return tryOpenSSL(t, folder, append(args, "-verify", "key.pem", "-signature", "signature", message)...)
			}
			out, err = verify("message")
			require.NoError(t, err, out)
			_, err = verify("other")
			require.Error(t, err)
		})
	}
}

// TestOpenSSLEncrypts: what openssl encrypts under our public key we decrypt.
func TestOpenSSLEncrypts(t *testing.T) {
	ctx, folder, k := t.Context(), t.TempDir(), kmstest.New(t)
	id := kit.Key(t, k, kms.SpecRSA2048, kms.UsageEncryptDecrypt)
	p, err := k.GetPublicKey(ctx, id)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(p.PEM(), "-----BEGIN PUBLIC KEY-----\n"))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "key.pem"), []byte(p.PEM()), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "plain"), []byte("theirs"), 0o600))
	out, err := tryOpenSSL(t, folder, "pkeyutl", "-encrypt", "-pubin", "-inkey", "key.pem", "-in", "plain", "-out", "cipher",
		"-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256")
	require.NoError(t, err, out)
	c, err := os.ReadFile(filepath.Join(folder, "cipher"))
	require.NoError(t, err)
	plain, err := k.AsymmetricDecrypt(ctx, id, c)
	require.NoError(t, err)
	require.Equal(t, "theirs", string(plain))
}
