//go:build cgo

package hsm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/provider/providertest"
)

// opened is a new key of a token.
func opened(t testing.TB, token *hsm.Token, id string) provider.Key {
	t.Helper()
	m, err := token.Generate(t.Context(), id, provider.AES256, provider.UseEncrypt)
	require.NoError(t, err)
	k, err := token.Open(t.Context(), id, provider.AES256, m)
	require.NoError(t, err)
	return k
}

// TestOnce: what goes wrong once with the connection no caller sees.
func TestOnce(t *testing.T) {
	tk, shim := shimmed(t)
	token := tk.open(t)
	for _, op := range operations(t, token) {
		if op.slow {
			continue // making a key is not tried twice
		}
		for _, function := range op.functions {
			for _, code := range []uint{0x5, 0x30, 0x32, 0x60, 0x82, 0x90, 0xB0, 0xB3, 0xE0, 0x101, 0x190} {
				shim.does(t, fmt.Sprintf("%s rv=0x%X times=1", function, code))
				require.NoError(t, op.run(t.Context()), "%s: %s returned 0x%X once", op.name, function, code)
			}
		}
	}
	h, err := token.Health(t.Context())
	require.NoError(t, err)
	require.Greater(t, h.Connections, 50)
}

// TestHang: a module that hangs costs each call its deadline and its ticket, and no other call
// anything, until all tickets are gone. Then it comes back.
func TestHang(t *testing.T) {
	tk, shim := shimmed(t)
	cfg := tk.config()
	cfg.MaxSessions = 4
	token, err := hsm.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, token.Close()) })
	k := opened(t, token, "hang")
	plaintext, ad := []byte("plaintext"), []byte("associated")
	sealed, err := k.Encrypt(t.Context(), nil, plaintext, ad)
	require.NoError(t, err)

	hang := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := k.Encrypt(ctx, nil, plaintext, ad)
		require.ErrorIs(t, err, provider.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(began), time.Second)
	}
	shim.does(t, "C_Encrypt sleep=3000")
	for range 3 {
		hang()
		got, err := k.Decrypt(t.Context(), nil, sealed, ad)
		require.NoError(t, err, "others go on")
		require.Equal(t, plaintext, got)
	}
	h, err := token.Health(t.Context())
	require.NoError(t, err)
	require.Equal(t, 4, h.Busy, "three that hang, and this one")
	hang()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = k.Decrypt(ctx, nil, sealed, ad)
	require.ErrorIs(t, err, context.DeadlineExceeded, "no ticket is left")
	require.ErrorIs(t, err, provider.ErrUnavailable)

	shim.does(t)
	require.Eventually(t, func() bool {
		h, err := token.Health(t.Context())
		return err == nil && h.Busy == 1
	}, 20*time.Second, 10*time.Millisecond)
	_, err = k.Encrypt(t.Context(), nil, plaintext, ad)
	require.NoError(t, err)
}

// TestOwnIV: a token that puts in an IV of its own passes all there is.
func TestOwnIV(t *testing.T) {
	tk, shim := shimmed(t)
	shim.does(t, "owniv")
	token := tk.open(t)
	providertest.Run(t, func(*testing.T) provider.Provider { return token })
}

// TestPIN: a PIN that the token refuses is refused as such, and not tried again.
func TestPIN(t *testing.T) {
	tk, shim := shimmed(t)
	cfg := tk.config()
	cfg.PIN = func() (string, error) { return "not the PIN", nil }
	_, err := hsm.Open(t.Context(), cfg)
	require.ErrorIs(t, err, hsm.ErrCredentials)
	require.NotErrorIs(t, err, provider.ErrUnavailable)

	var pin atomic.Pointer[string] // which is asked for at any time
	pin.Store(&tk.PIN)
	cfg.PIN = func() (string, error) { return *pin.Load(), nil }
	token, err := hsm.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, token.Close()) })
	k := opened(t, token, "pin")
	encrypt := func() error { _, err := k.Encrypt(t.Context(), nil, nil, nil); return err }

	for _, code := range []uint{0xA0, 0xA1, 0xA2, 0xA3, 0xA4} {
		pin.Store(&tk.PIN)
		require.Eventually(t, func() bool { return encrypt() == nil }, 5*time.Second, time.Millisecond)
		wrong := fmt.Sprintf("wrong %x", code)
		pin.Store(&wrong)
		shim.does(t, "C_EncryptInit rv=0x30 times=1", fmt.Sprintf("C_Login rv=0x%X", code))
		require.ErrorIs(t, encrypt(), hsm.ErrCredentials)
		// From here on a login would succeed, if there were one.
		shim.does(t, "C_Login skip=0")
		require.Never(t, func() bool { return !errors.Is(encrypt(), hsm.ErrCredentials) }, 600*time.Millisecond, 50*time.Millisecond)
	}

	cfg.PIN = func() (string, error) { return "", errors.New("the vault is closed") }
	_, err = hsm.Open(t.Context(), cfg)
	require.ErrorIs(t, err, provider.ErrUnavailable)
}

// TestEvil: a module that fails at random, in every function, makes calls fail, and nothing else.
func TestEvil(t *testing.T) {
	answers := int64(campaign.Size(1_000, 200_000))
	tk, shim := shimmed(t)
	token := tk.open(t)
	k := opened(t, token, "evil")
	plaintext, ad := []byte("plaintext"), []byte("associated")
	sealed, err := k.Encrypt(t.Context(), nil, plaintext, ad)
	require.NoError(t, err)

	shim.does(t, "* evil=100")
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := map[string][]byte{}
	var answered, failed atomic.Int64 // calls
	count := func(err error) bool {
		if err != nil {
			failed.Add(1)
			_, _ = token.Health(t.Context())
			return false
		}
		answered.Add(1)
		return true
	}
	decrypt := func(ciphertext []byte) {
		if got, err := k.Decrypt(t.Context(), nil, ciphertext, ad); count(err) && !bytes.Equal(got, plaintext) {
			t.Error("something else than the plaintext")
		}
	}
	for range 4 {
		wg.Go(func() {
			for answered.Load() < answers {
				switch rand.IntN(20) {
				case 0:
					id := fmt.Sprint("evil", rand.Int())
					if m, err := token.Generate(t.Context(), id, provider.AES256, provider.UseEncrypt); count(err) {
						mu.Lock()
						made[id] = m
						mu.Unlock()
					}
				default:
					decrypt(sealed)
					if fresh, err := k.Encrypt(t.Context(), nil, plaintext, ad); count(err) {
						decrypt(fresh)
					}
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d calls answered, %d failed, %d keys made", answered.Load(), failed.Load(), len(made))
	shim.does(t)
	require.Eventually(t, func() bool { _, err := token.Health(t.Context()); return err == nil }, 5*time.Second, time.Millisecond)
	got, err := k.Decrypt(t.Context(), nil, sealed, ad)
	require.NoError(t, err)
	require.Equal(t, plaintext, got)
	for id, m := range made { // what was acknowledged is there
		_, err := token.Open(t.Context(), id, provider.AES256, m)
		require.NoError(t, err)
		require.NoError(t, token.Destroy(t.Context(), id, m))
	}
}
