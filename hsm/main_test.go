//go:build cgo

package hsm_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/internal/notrun"
	"github.com/keyhold/kms/internal/testtoken"
)

func TestMain(m *testing.M) {
	code := notrun.Main(m)
	if built.folder != "" {
		_ = os.RemoveAll(built.folder)
	}
	os.Exit(code)
}

// A token is one to test with.
type token struct{ testtoken.Token }

func softHSM(t testing.TB) token  { t.Helper(); return token{testtoken.New(t)} }
func anyToken(t testing.TB) token { t.Helper(); return token{testtoken.Any(t)} }

func (tk token) config() hsm.Config {
	return hsm.Config{Module: tk.Module, TokenLabel: tk.Label, PIN: func() (string, error) { return tk.PIN, nil }}
}

// open opens the token for the length of the test.
func (tk token) open(t testing.TB) *hsm.Token {
	t.Helper()
	token, err := hsm.Open(t.Context(), tk.config())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, token.Close()) })
	return token
}
