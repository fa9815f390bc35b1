package kms_test

import (
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/internal/testtoken"
	"github.com/stretchr/testify/require"
)

// A level has keys made at one protection level.
type level func(*kms.Config)

// onBothLevels runs a test twice: with software keys, and with keys in a token.
func onBothLevels(t *testing.T, run func(t *testing.T, at level)) {
	t.Run("software", func(t *testing.T) { run(t, func(*kms.Config) {}) })
	t.Run("hardware", func(t *testing.T) { _, token := newToken(t); run(t, inToken(token)) })
}

// inToken has all keys be in a token.
func inToken(token *hsm.Token) level {
	return func(c *kms.Config) { c.Software, c.HSM = nil, token }
}

// newToken opens a token that is made for the test.
func newToken(t *testing.T) (testtoken.Token, *hsm.Token) {
	t.Helper()
	tk := testtoken.New(t)
	token, err := hsm.Open(t.Context(), hsm.Config{Module: tk.Module, TokenLabel: tk.Label, PIN: func() (string, error) { return tk.PIN, nil }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, token.Close()) })
	return tk, token
}
