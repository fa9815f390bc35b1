//go:build cgo

package hsm_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/provider"
)

// A cost is that of a hardware key, or of the bare calls of PKCS#11 that it takes, in one token:
// C_EncryptInit and C_Encrypt, C_DecryptInit and C_Decrypt, on a session that is there, with a
// handle that is there. The bare ones bring no deadline, no commitment, and no way back.
type cost struct {
	name string
	run  func()
}

// costs are by three: bare, by the provider, and by the provider where the context can end.
func costs(tb testing.TB) []cost {
	tb.Helper()
	tk := anyToken(tb)
	token := tk.open(tb)
	k := opened(tb, token, "bench")
	bare := newBare(tb, tk, "keyhold:bench")
	plaintext, ad := make([]byte, 32), make([]byte, 24)
	sealed, err := k.Encrypt(tb.Context(), nil, plaintext, ad)
	require.NoError(tb, err)
	bareSealed := bare.encrypt(plaintext, ad)
	deadline, cancel := context.WithTimeout(tb.Context(), time.Hour)
	tb.Cleanup(cancel)
	must := func(_ []byte, err error) {
		if err != nil {
			tb.Error(err)
		}
	}
	return []cost{
		{"Encrypt/bare", func() { bare.encrypt(plaintext, ad) }},
		{"Encrypt/hsm", func() { must(k.Encrypt(context.Background(), nil, plaintext, ad)) }},
		{"Encrypt/deadline", func() { must(k.Encrypt(deadline, nil, plaintext, ad)) }},
		{"Decrypt/bare", func() { bare.decrypt(bareSealed, ad) }},
		{"Decrypt/hsm", func() { must(k.Decrypt(context.Background(), nil, sealed, ad)) }},
		{"Decrypt/deadline", func() { must(k.Decrypt(deadline, nil, sealed, ad)) }},
	}
}

// times does n of it, by that many goroutines.
func (c cost) times(n, goroutines int) {
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := g; i < n; i += goroutines {
				c.run()
			}
		})
	}
	wg.Wait()
}

func BenchmarkToken(b *testing.B) {
	for _, c := range costs(b) {
		for _, goroutines := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/%d", c.name, goroutines), func(b *testing.B) {
				b.ReportAllocs()
				c.times(b.N, goroutines)
			})
		}
	}
}

// TestCost measures in turns, so that a slow moment of the machine falls on all sides, and
// compares the best times: that is what the provider costs where nothing else does. With
// KEYHOLD_CAMPAIGN=1 it holds the provider to 1.2 times the bare calls.
func TestCost(t *testing.T) {
	rounds, most := 40, 2.0
	if campaign.Running() {
		rounds, most = 400, 1.2
	}
	all := costs(t)
	for _, goroutines := range []int{1, 8} {
		took := make([][]float64, len(all))
		for range rounds {
			for i, c := range all {
				const n = 80
				began := time.Now()
				c.times(n, goroutines)
				took[i] = append(took[i], float64(time.Since(began).Nanoseconds())/n/1000)
			}
		}
		for i, c := range all {
			slices.Sort(took[i])
			bare := took[i/3*3]
			best, median := took[i][0]/bare[0], took[i][rounds/2]/bare[rounds/2]
			t.Logf("%-17s %d goroutines: best %.1f us, %.2f times the bare; median %.1f us, %.2f times", c.name, goroutines, took[i][0], best, took[i][rounds/2], median)
			if i%3 == 1 {
				require.LessOrEqual(t, best, most, c.name)
			}
		}
	}
}

// bareToken calls the module with nothing between.
type bareToken struct {
	tb       testing.TB
	p        *pkcs11.Ctx
	key      pkcs11.ObjectHandle
	sessions chan pkcs11.SessionHandle
}

func newBare(tb testing.TB, tk token, label string) *bareToken {
	tb.Helper()
	r := &bareToken{tb: tb, p: pkcs11.New(tk.Module), sessions: make(chan pkcs11.SessionHandle, 8)}
	require.NotNil(tb, r.p)
	tb.Cleanup(r.p.Destroy)
	slots, err := r.p.GetSlotList(true)
	require.NoError(tb, err)
	for range cap(r.sessions) {
		h, err := r.p.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		require.NoError(tb, err)
		r.sessions <- h
	}
	h := <-r.sessions
	defer func() { r.sessions <- h }()
	require.NoError(tb, r.p.FindObjectsInit(h, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)}))
	found, _, err := r.p.FindObjects(h, 2)
	require.NoError(tb, err)
	require.NoError(tb, r.p.FindObjectsFinal(h))
	require.Len(tb, found, 1)
	r.key = found[0]
	return r
}

func (r *bareToken) check(err error) {
	if err != nil {
		r.tb.Error(err)
	}
}

func (r *bareToken) encrypt(plaintext, ad []byte) []byte {
	h := <-r.sessions
	defer func() { r.sessions <- h }()
	params := pkcs11.NewGCMParams(random(12), ad, 128)
	defer params.Free()
	r.check(r.p.EncryptInit(h, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, r.key))
	ciphertext, err := r.p.Encrypt(h, plaintext)
	r.check(err)
	return append(params.IV(), ciphertext...)
}

func (r *bareToken) decrypt(sealed, ad []byte) {
	h := <-r.sessions
	defer func() { r.sessions <- h }()
	params := pkcs11.NewGCMParams(sealed[:12], ad, 128)
	defer params.Free()
	r.check(r.p.DecryptInit(h, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, r.key))
	_, err := r.p.Decrypt(h, sealed[12:])
	r.check(err)
}

// TestManyKeys: with thousands of keys in the token, using one searches for nothing, and the
// first use of many does not search for each.
func TestManyKeys(t *testing.T) {
	n := campaign.Size(300, 10_000)
	tk, shim := shimmed(t)
	token := tk.open(t)
	materials := make([][]byte, n)
	for i := range materials {
		m, err := token.Generate(t.Context(), fmt.Sprint("many-", i), provider.AES256, provider.UseEncrypt)
		require.NoError(t, err)
		materials[i] = m
	}
	// A new connection knows no handle.
	shim.does(t, "C_EncryptInit rv=0x30 times=1")
	first := opened1(t, token, "many-0", materials[0])
	_, err := first.Encrypt(t.Context(), nil, nil, nil)
	require.NoError(t, err)

	began := time.Now()
	keys := make([]provider.Key, n)
	for i, m := range materials {
		keys[i] = opened1(t, token, fmt.Sprint("many-", i), m)
	}
	t.Logf("%d keys opened in %s", n, time.Since(began).Round(time.Millisecond))

	// From here on whoever searches fails.
	shim.does(t, "C_FindObjectsInit rv=0x30")
	began = time.Now()
	for _, k := range keys {
		sealed, err := k.Encrypt(t.Context(), nil, []byte("plaintext"), nil)
		require.NoError(t, err)
		_, err = k.Decrypt(t.Context(), nil, sealed, nil)
		require.NoError(t, err)
	}
	t.Logf("each used twice in %s", time.Since(began).Round(time.Millisecond))
}

func opened1(t testing.TB, token interface {
	Open(context.Context, string, provider.Spec, []byte) (provider.Key, error)
}, id string, m []byte) provider.Key {
	t.Helper()
	k, err := token.Open(t.Context(), id, provider.AES256, m)
	require.NoError(t, err)
	return k
}
