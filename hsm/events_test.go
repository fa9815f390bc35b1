//go:build cgo

package hsm_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/notrun"
	"github.com/keyhold/kms/provider"
)

// TestEvents: whatever happens to a token, a hundred times where the tests are required, with many calls under way: every call
// is a result, and the right one, or ErrUnavailable; the first that succeeds is less than five
// seconds after all is well again; and what was acknowledged is there in the end.
func TestEvents(t *testing.T) {
	for _, event := range []struct {
		name string
		do   func(t *testing.T, tk token, l *load, p *pkcs11.Ctx, slot uint)
	}{
		{"logged out", func(_ *testing.T, _ token, _ *load, p *pkcs11.Ctx, slot uint) {
			if h, err := p.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION); err == nil {
				_ = p.Logout(h)
				_ = p.CloseSession(h)
			}
		}},
		{"sessions closed, as by a restart", func(_ *testing.T, _ token, _ *load, p *pkcs11.Ctx, slot uint) { _ = p.CloseAllSessions(slot) }},
		{"finalised by another", func(_ *testing.T, _ token, _ *load, p *pkcs11.Ctx, _ uint) { _ = p.Finalize() }},
		{"moved away and back", func(t *testing.T, tk token, l *load, _ *pkcs11.Ctx, _ uint) {
			require.NoError(t, os.Rename(tk.Folder, tk.Folder+".away"))
			before := l.refused.Load()
			require.Eventually(t, func() bool { return l.refused.Load() > before }, 5*time.Second, time.Millisecond, "it is missed")
			require.NoError(t, os.Rename(tk.Folder+".away", tk.Folder))
		}},
	} {
		t.Run(event.name, func(t *testing.T) { eventsUnderLoad(t, event.do) })
	}
}

func eventsUnderLoad(t *testing.T, event func(t *testing.T, tk token, l *load, p *pkcs11.Ctx, slot uint)) {
	tk, _ := shimmed(t)
	token := tk.open(t)
	k := opened(t, token, "shared")
	other := pkcs11.New(tk.Module)
	require.NotNil(t, other)
	defer other.Destroy()
	slots, err := other.GetSlotList(true)
	require.NoError(t, err)

	load := startLoad(t, token, k)
	times := 20
	if notrun.Required() || campaign.Running() {
		times = 100
	}
	for range times {
		before := load.done.Load()
		require.Eventually(t, func() bool { return load.done.Load() > before+10 }, 5*time.Second, time.Millisecond, "calls succeed")
		event(t, tk, load, other, slots[0])
		after := time.Now()
		for {
			if _, err := k.Encrypt(t.Context(), nil, nil, nil); err == nil {
				break
			} else if errors.Is(err, provider.ErrUnavailable) {
				require.Less(t, time.Since(after), 5*time.Second, "recovery")
			} else {
				t.Fatalf("a call is neither a result nor ErrUnavailable: %v", err)
			}
		}
	}
	load.stop()
	t.Logf("%d calls succeeded, %d were unavailable, %d keys made", load.done.Load(), load.refused.Load(), len(load.made))
	require.NotZero(t, len(load.made))
	for id, m := range load.made {
		_, err := token.Open(t.Context(), id, provider.AES256, m)
		require.NoError(t, err, "a key that was made is there")
	}
}

// A load is many calls of all kinds, checked.
type load struct {
	done, refused atomic.Int64
	made          map[string][]byte // keys that were acknowledged
	stop          func()
}

func startLoad(t *testing.T, token *hsm.Token, k provider.Key) *load {
	t.Helper()
	l := &load{made: map[string][]byte{}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	check := func(err error) bool {
		switch {
		case err == nil:
			l.done.Add(1)
		case errors.Is(err, provider.ErrUnavailable):
			l.refused.Add(1)
		default:
			t.Errorf("a call is neither a result nor ErrUnavailable: %v", err)
		}
		return err == nil
	}
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				plaintext, ad := []byte("plaintext"), []byte("associated")
				sealed, err := k.Encrypt(ctx, nil, plaintext, ad)
				if !check(err) {
					continue
				}
				got, err := k.Decrypt(ctx, nil, sealed, ad)
				if check(err) && !bytes.Equal(got, plaintext) {
					t.Error("something else than the plaintext was decrypted")
				}
			}
		})
	}
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			id := "made-" + time.Now().String()
			m, err := token.Generate(ctx, id, provider.AES256, provider.UseEncrypt)
			if check(err) {
				l.made[id] = m
			}
		}
	})
	l.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(l.stop)
	return l
}
