package software_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
		out := everyPrint(v)
		for _, secret := range secrets {
			for form, s := range printedForms(secret) {
				require.False(t, strings.Contains(out, s), "%s shows a secret, %s", name, form)
			}
		}
	}
}

// TestEveryPrintSees proves the test above: what is not hidden is found in all its forms.
func TestEveryPrintSees(t *testing.T) {
	t.Parallel()
	canary := randomBytes(t, 32)
	out := everyPrint(struct{ key []byte }{canary}) + everyPrint(struct{ Key []byte }{canary})
	for form, s := range printedForms(canary) {
		require.True(t, strings.Contains(out, s), form)
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

// everyPrint is v by every verb of fmt, by the dumper behind testify's diffs (go-spew),
// by slog and by encoding/json.
func everyPrint(v any) string {
	var out strings.Builder
	for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
		for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "# ", "20.40"} {
			fmt.Fprintf(&out, "%"+flags+string(verb)+"\n", v)
		}
	}
	rec := &printRecorder{}
	assert.Equal(rec, []any{v}, []any{"something else"})
	out.WriteString(rec.String())
	for _, h := range []slog.Handler{
		slog.NewTextHandler(&out, nil),
		slog.NewJSONHandler(&out, nil),
	} {
		slog.New(h).Info("message", "v", v)
	}
	b, _ := json.Marshal(v)
	out.Write(b)
	return out.String()
}

// printRecorder is a testing.T for testify that keeps what it would have printed.
type printRecorder struct{ bytes.Buffer }

func (r *printRecorder) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

// printedForms is how a printer shows b: the shortest part of each form by which b would
// be recognised.
func printedForms(b []byte) map[string]string {
	b = b[:8]
	return map[string]string{
		"raw":     string(b),
		"hex":     hex.EncodeToString(b),
		"HEX":     strings.ToUpper(hex.EncodeToString(b)),
		"base64":  base64.StdEncoding.EncodeToString(b[:6]),
		"decimal": strings.Trim(fmt.Sprintf("%d", b), "[]"),
		"go":      strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b), "[]byte{"), "}"),
		"dump":    strings.TrimSpace(hex.Dump(b)[10:33]),
	}
}

func writeRootFile(t *testing.T, key []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "root")
	require.NoError(t, os.WriteFile(path, software.FormatRootFile(key), 0o600))
	return path
}
