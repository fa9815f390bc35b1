package kms_test

import (
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/internal/testtoken"
	"github.com/stretchr/testify/require"
)

// atHardware is the last of places: all keys are in a token, and their records in Memory.
const atHardware = "hardware"

// inToken has all keys be in a token.
func inToken(token *hsm.Token) func(*kms.Config) {
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
