package software_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/leaktest"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

// TestNothingPrintsSecrets prints all that the package returns in every way, and looks
// for the bytes of the keys and passphrases behind.
func TestNothingPrintsSecrets(t *testing.T) {
	t.Parallel()
	key, fileKey := randomBytes(t, 32), randomBytes(t, 32)
	const passphrase = "canary-passphrase"

	byKey, err := software.NewRoot(key)
	require.NoError(t, err)
	byFile, err := software.OpenRootFile(writeRootFile(t, fileKey))
	require.NoError(t, err)
	byPassphrase := rootFromPassphrase(t, passphrase)
	_, err = byPassphrase.Encrypt(nil, nil) // so that it holds a derived key
	require.NoError(t, err)
	p := software.New()
	m, err := p.Generate(t.Context(), "id", provider.AES256, provider.UseEncrypt)
	require.NoError(t, err)
	opened, err := p.Open(t.Context(), "id", provider.AES256, m)
	require.NoError(t, err)

	secrets := [][]byte{key, fileKey, []byte(passphrase), software.KeyOfMaterial(t, m)}
	for name, v := range map[string]any{
		"root of a key":        byKey,
		"root of a file":       byFile,
		"root of a passphrase": byPassphrase,
		"a root's value":       *byKey,
		"a root in a struct":   struct{ root *software.Root }{byPassphrase},
		"roots in a slice":     []software.Root{*byKey, *byFile, *byPassphrase},
		"provider":             p,
		"key":                  opened,
		"key in a map":         map[string]any{"key": opened},
	} {
		require.Empty(t, leaktest.Found(v, secrets...), "%s shows a secret", name)
	}
}

// TestErrorTexts: every error of the package says where it is from, and no two the same.
func TestErrorTexts(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, err := range []error{
		software.ErrRootKey, software.ErrRootCiphertext, software.ErrRootFile, software.ErrPassphrase,
	} {
		require.True(t, strings.HasPrefix(err.Error(), "software: "), err.Error())
		require.False(t, seen[err.Error()], err.Error())
		seen[err.Error()] = true
	}
}

func writeRootFile(t *testing.T, key []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "root")
	require.NoError(t, os.WriteFile(path, software.FormatRootFile(key), 0o600))
	return path
}
