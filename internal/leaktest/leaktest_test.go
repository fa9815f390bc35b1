package leaktest_test

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/leaktest"
)

func canary() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return b
}

// TestEveryPrintSees proves the tests that look for secrets: what is not hidden is found in all
// its forms.
func TestEveryPrintSees(t *testing.T) {
	t.Parallel()
	secret := canary()
	out := leaktest.EveryPrint(struct{ key []byte }{secret}) + leaktest.EveryPrint(struct{ Key []byte }{secret})
	for form, text := range leaktest.Forms(secret[:8]) {
		require.True(t, strings.Contains(out, text), form)
	}
}

func TestEachPrinterWritesSomething(t *testing.T) {
	t.Parallel()
	secret := canary()
	for name, print := range leaktest.Printers() {
		var out bytes.Buffer
		print(&out, struct{ Key string }{"a secret"})
		require.Contains(t, out.String(), "a secret", name)
		out.Reset()
		print(&out, struct{ key []byte }{secret})
		shows := false
		for _, text := range leaktest.Forms(secret[:8]) {
			shows = shows || strings.Contains(out.String(), text)
		}
		exportedOnly := strings.Contains(strings.ToLower(name), "json")
		require.Equal(t, !exportedOnly, shows, name)
	}
}

// Of several secrets each is looked for, and what a function refers to is hidden.
func TestFound(t *testing.T) {
	t.Parallel()
	shown, hidden := canary(), canary()
	v := struct {
		key  []byte
		open func() []byte
	}{shown, func() []byte { return hidden }}
	require.NotEmpty(t, leaktest.Found(v, shown))
	require.NotEmpty(t, leaktest.Found(&v, hidden, shown))
	require.Empty(t, leaktest.Found(v, hidden))
	require.Empty(t, leaktest.Found(nil, shown, hidden))
}
