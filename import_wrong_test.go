package kms_test

import (
	"crypto/rand"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestWrongMaterial: of very many random materials none is taken, by a key that has its
// material and by one that lost it; nothing is written. The right one opens all that was ever
// encrypted, also after the root was rotated. 2000 materials; 100 000 in a campaign.
func TestWrongMaterial(t *testing.T) {
	t.Parallel()
	n := campaign.Size(2000, 100_000)
	ctx, k := t.Context(), kmstest.New(t)
	material := make([]byte, 32)
	_, _ = rand.Read(material)
	id, _, _ := kit.ImportedKey(t, k, material)
	p, err := k.GetParametersForImport(ctx, id, &kms.ImportOptions{Algorithm: kms.WrapOAEP})
	require.NoError(t, err)
	var old [][]byte
	encrypt := func() {
		for i := range 50 {
			c, err := k.Encrypt(ctx, id, []byte{byte(i)}, kms.EncryptionContext{"n": string(rune('a' + i%26))})
			require.NoError(t, err)
			old = append(old, c)
		}
	}
	opens := func() {
		t.Helper()
		for i, c := range old {
			plain, err := k.Decrypt(ctx, c, kms.EncryptionContext{"n": string(rune('a' + i%50%26))})
			require.NoError(t, err)
			require.Equal(t, []byte{byte(i % 50)}, plain)
		}
	}
	importRight := func() {
		t.Helper()
		wrapped, err := kms.WrapForImport(p, material)
		require.NoError(t, err)
		require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, p.Token, time.Time{})))
	}

	encrypt()
	allWrong(t, k, id, p, n/2) // Enabled
	opens()
	require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, id)))
	allWrong(t, k, id, p, n/4) // PendingImport
	importRight()
	opens()

	require.NoError(t, k.RotateRoot(ctx, kit.Root(t, 2)))
	encrypt()
	require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, id)))
	allWrong(t, k, id, p, n-n/2-n/4)
	importRight()
	opens()
	t.Logf("%d wrong materials, 0 taken; %d old ciphertexts opened", n, len(old))
}

// allWrong tries n random materials, on every processor, and fails for each that is taken.
func allWrong(t *testing.T, k *kmstest.KMS, id string, p kms.ImportParameters, n int) {
	t.Helper()
	before := kit.StoredValue(t, k, "key/"+id)
	var tried atomic.Int64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			wrong := make([]byte, 32)
			for tried.Add(1) <= int64(n) && !t.Failed() {
				_, _ = rand.Read(wrong)
				wrapped, err := kms.WrapForImport(p, wrong)
				if err != nil {
					t.Error(err)
				}
				_, err = k.ImportKeyMaterial(t.Context(), id, wrapped, p.Token, time.Time{})
				if r := kit.Conditions(err); len(r) != 1 || r[0] != "ErrMaterial" {
					t.Errorf("a wrong material: %v", err)
				}
			}
		})
	}
	all.Wait()
	require.GreaterOrEqual(t, tried.Load(), int64(n))
	require.Equal(t, before, kit.StoredValue(t, k, "key/"+id))
}
