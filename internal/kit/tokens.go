package kit

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/internal/testtoken"
)

// AtHardware is the last of the places where a test runs: all keys are in a token, and their
// records in Memory.
const AtHardware = "hardware"

// tokenOfTest is the token of the test that runs at the hardware.
var tokenOfTest atomic.Pointer[hsm.Token]

// UseToken gives New the token for the subtests that are named AtHardware.
func UseToken(token *hsm.Token) { tokenOfTest.Store(token) }

// InToken puts all keys into a token.
func InToken(token *hsm.Token) func(*kms.Config) {
	return func(c *kms.Config) { c.Software, c.HSM = nil, token }
}

// OpenToken opens a token that is made for the test.
func OpenToken(t testing.TB) (testtoken.Token, *hsm.Token) {
	t.Helper()
	tk := testtoken.New(t)
	token, err := hsm.Open(t.Context(), hsm.Config{Module: tk.Module, TokenLabel: tk.Label, PIN: func() (string, error) { return tk.PIN, nil }})
	must(t, "opening a token", err)
	t.Cleanup(func() { must(t, "closing a token", token.Close()) })
	return tk, token
}

// TakeToken takes a token away. Back brings it back, and waits until that is noticed.
func TakeToken(t testing.TB, tk testtoken.Token, token *hsm.Token) (back func()) {
	t.Helper()
	elsewhere := tk.Folder + ".away"
	must(t, "taking a token away", os.Rename(tk.Folder, elsewhere))
	return func() {
		t.Helper()
		must(t, "bringing a token back", os.Rename(elsewhere, tk.Folder))
		for until := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			_, err := token.Health(t.Context())
			if err == nil {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("kit: nobody notices that the token is back: %v", err)
			}
		}
	}
}
