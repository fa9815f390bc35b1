package interop_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// openssl runs the command line tool in a folder. Where it is missing the test fails: it is
// the one party here that shares no code with us.
func openssl(t *testing.T, folder string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("openssl")
	require.NoError(t, err, "this test needs the openssl command: apt-get install openssl")
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = folder
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	require.NoError(t, err, "openssl %s: %s", args[0], &complaint)
	return out
}

// oaep has openssl wrap a file under the public key of the parameters.
func oaep(t *testing.T, folder string, p kms.ImportParameters, file string) []byte {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "public.der"), p.PublicKey, 0o600))
	openssl(t, folder, "pkey", "-pubin", "-inform", "DER", "-in", "public.der", "-out", "public.pem")
	return openssl(t, folder, "pkeyutl", "-encrypt", "-pubin", "-inkey", "public.pem", "-in", file, "-pkeyopt", "rsa_padding_mode:oaep",
		"-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256")
}

// wrapByOpenSSL wraps the file "material" as the parameters say.
func wrapByOpenSSL(t *testing.T, folder string, p kms.ImportParameters) []byte {
	t.Helper()
	if p.Algorithm == kms.WrapOAEP {
		return oaep(t, folder, p, "material")
	}
	kek := openssl(t, folder, "rand", "32")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "kek"), kek, 0o600))
	args := []string{"enc", "-aes-256-ecb", "-K", hex.EncodeToString(kek), "-in", "material"}
	if p.Algorithm == kms.WrapAESKeyWrap {
		const cipher = "-id-aes256-wrap-pad"
		if !strings.Contains(string(openssl(t, folder, "enc", "-list")), cipher) {
			t.Skipf("%s has no %s", bytes.TrimSpace(openssl(t, folder, "version")), cipher)
		}
		args[1] = cipher
		args = append(args, "-iv", "A65959A6")
	}
	return append(oaep(t, folder, p, "kek"), openssl(t, folder, args...)...)
}

// TestImportFromOpenSSL: material that openssl made and wrapped is imported and works, and it
// is that material: the same wrapped by us is taken, any other is not.
func TestImportFromOpenSSL(t *testing.T) {
	t.Parallel()
	for _, o := range []kms.ImportOptions{
		{Spec: kms.WrapRSA2048, Algorithm: kms.WrapOAEP}, {Spec: kms.WrapRSA3072, Algorithm: kms.WrapOAEP},
		{Spec: kms.WrapRSA2048, Algorithm: kms.WrapAESKeyWrap}, {Spec: kms.WrapRSA4096, Algorithm: kms.WrapAESKeyWrap},
		{Spec: kms.WrapRSA2048, Algorithm: kms.WrapAESECB},
	} {
		t.Run(string(o.Spec)+"/"+string(o.Algorithm), func(t *testing.T) {
			t.Parallel()
			ctx, k, folder := t.Context(), kmstest.New(t), t.TempDir()
			id := kit.ExternalKey(t, k)
			p, err := k.GetParametersForImport(ctx, id, &o)
			require.NoError(t, err)
			material := openssl(t, folder, "rand", "32")
			require.NoError(t, os.WriteFile(filepath.Join(folder, "material"), material, 0o600))

			wrapped := wrapByOpenSSL(t, folder, p)
			require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, p.Token, time.Time{})))
			c, err := k.Encrypt(ctx, id, []byte("x"), nil)
			require.NoError(t, err)
			require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, id, nil)))

			other, token := kit.WrapMaterial(t, k, id, kit.Material())
			require.ErrorIs(t, kit.Err(k.ImportKeyMaterial(ctx, id, other, token, time.Time{})), kms.ErrMaterial)
			same, token := kit.WrapMaterial(t, k, id, material)
			require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, same, token, time.Time{})))
			plain, err := k.Decrypt(ctx, c, nil)
			require.NoError(t, err)
			require.Equal(t, "x", string(plain))

			wrapped[len(wrapped)-1] ^= 1
			require.ErrorIs(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, p.Token, time.Time{})), kms.ErrMaterial)
		})
	}
}
