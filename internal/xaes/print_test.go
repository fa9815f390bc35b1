package xaes_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/xaes"
)

// TestNothingPrintsTheKey prints a Key in every way, alone and inside other values, and
// looks for the key's bytes.
func TestNothingPrintsTheKey(t *testing.T) {
	t.Parallel()
	canary := randomBytes(t, xaes.KeySize)
	k, err := xaes.New(canary)
	require.NoError(t, err)

	for name, v := range map[string]any{
		"pointer": k,
		"value":   *k,
		"inside":  struct{ key *xaes.Key }{k},
		"slice":   []xaes.Key{*k},
		"map":     map[string]any{"k": *k},
	} {
		out := everyPrint(v)
		for form, s := range printedForms(canary) {
			require.False(t, strings.Contains(out, s), "%s shows the key's bytes, %s", name, form)
		}
	}
}

// TestEveryPrintSees proves the test above: what is not hidden is found in all its forms.
func TestEveryPrintSees(t *testing.T) {
	t.Parallel()
	canary := randomBytes(t, xaes.KeySize)
	out := everyPrint(struct{ key []byte }{canary}) + everyPrint(struct{ Key []byte }{canary})
	for form, s := range printedForms(canary) {
		require.True(t, strings.Contains(out, s), form)
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
	rec := &recorder{}
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

// recorder is a testing.T for testify that keeps what it would have printed.
type recorder struct{ bytes.Buffer }

func (r *recorder) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

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
