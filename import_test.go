package kms_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
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

// TestImport: each way to wrap, with each wrapping key; finished by another process.
func TestImport(t *testing.T) {
	ctx := t.Context()
	for _, spec := range []kms.WrappingSpec{"", kms.WrapRSA2048, kms.WrapRSA3072, kms.WrapRSA4096} {
		for _, algorithm := range []kms.WrappingAlgorithm{"", kms.WrapOAEP, kms.WrapAESKeyWrap, kms.WrapAESECB} {
			if len(spec) > 0 && spec != kms.WrapRSA2048 && algorithm != kms.WrapAESKeyWrap {
				continue // large keys take seconds to make
			}
			t.Run(fmt.Sprintf("%s/%s", spec, algorithm), func(t *testing.T) {
				t.Parallel()
				k := kmstest.New(t)
				id := kit.ExternalKey(t, k)
				require.ErrorIs(t, kit.Err(k.Encrypt(ctx, id, nil, nil)), kms.ErrPendingImport)
				p, err := k.GetParametersForImport(ctx, id, &kms.ImportOptions{Spec: spec, Algorithm: algorithm})
				require.NoError(t, err)
				require.Equal(t, k.Clock.Now().Add(24*time.Hour), p.ExpiresAt)
				wrapped := wrapECB(t, p, kit.Material())
				if algorithm != kms.WrapAESECB {
					wrapped, err = kms.WrapForImport(p, kit.Material())
					require.NoError(t, err)
				}
				other := k.Another(t)
				require.NoError(t, kit.Err(other.ImportKeyMaterial(ctx, id, wrapped, p.Token, time.Time{})))
				c, err := k.Encrypt(ctx, id, []byte("x"), nil)
				require.NoError(t, err)
				plain, err := other.Decrypt(ctx, c, nil)
				require.NoError(t, err)
				require.Equal(t, "x", string(plain))
			})
		}
	}
}

// wrapECB wraps as clients of a cloud service do: OAEP, then AES-ECB with PKCS #7.
func wrapECB(t *testing.T, p kms.ImportParameters, material []byte) []byte {
	public, err := x509.ParsePKIXPublicKey(p.PublicKey)
	require.NoError(t, err)
	key := bytes.Repeat([]byte{9}, 32)
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public.(*rsa.PublicKey), key, nil)
	require.NoError(t, err)
	n := 16 - len(material)%16
	padded := append(bytes.Clone(material), bytes.Repeat([]byte{byte(n)}, n)...)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	for at := 0; at < len(padded); at += 16 {
		block.Encrypt(padded[at:], padded[at:])
	}
	return append(wrapped, padded...)
}

// TestSameMaterialOnly: the first import binds; the same again restores every ciphertext and
// replaces the expiry; any other is refused, whatever the state, and changes nothing.
func TestSameMaterialOnly(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id, wrapped, token := kit.ImportedKey(t, k, kit.Material())
	c, err := k.Encrypt(ctx, id, []byte("x"), nil)
	require.NoError(t, err)
	other := bytes.Clone(kit.Material())
	other[31] ^= 1
	refused := func() {
		t.Helper()
		bad, badToken := kit.WrapMaterial(t, k, id, other)
		before := kit.StoredValue(t, k, "key/"+id)
		require.Equal(t, []string{"ErrMaterial"}, kit.Conditions(kit.Err(k.ImportKeyMaterial(ctx, id, bad, badToken, time.Time{}))))
		require.Equal(t, before, kit.StoredValue(t, k, "key/"+id))
	}
	refused() // Enabled
	require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
	refused() // Disabled
	key, err := k.ImportKeyMaterial(ctx, id, wrapped, token, k.Clock.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, kms.Disabled, key.State, "an import does not enable what is disabled")
	require.Equal(t, k.Clock.Now().Add(time.Hour), key.MaterialExpiresAt)
	require.NoError(t, kit.Err(k.EnableKey(ctx, id)))

	k.Clock.Advance(time.Hour - 1)
	require.NoError(t, kit.Err(k.Decrypt(ctx, c, nil)))
	k.Clock.Advance(1) // expired, at this instant, with nothing having run
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrPendingImport)
	refused() // expired
	require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})))
	require.NoError(t, kit.Err(k.Decrypt(ctx, c, nil)))

	require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, id, nil)))
	require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, id, nil)), "twice")
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, c, nil)), kms.ErrPendingImport)
	refused() // deleted
	require.NoError(t, k.RotateRoot(ctx, kit.Root(t, 2)))
	refused() // after the root was rotated
	key, err = k.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})
	require.NoError(t, err)
	require.Equal(t, kms.Enabled, key.State)
	plain, err := k.Decrypt(ctx, c, nil)
	require.NoError(t, err)
	require.Equal(t, "x", string(plain))
	require.Zero(t, key.MaterialExpiresAt)
}

// TestMaterialExpiryIsSwept: Maintain destroys expired material, once; re-import brings the
// key back before and after.
func TestMaterialExpiryIsSwept(t *testing.T) {
	ctx := t.Context()
	r := &kit.Recorder{}
	k := kmstest.New(t, withRecorder(r, -1))
	id := kit.ExternalKey(t, k)
	wrapped, token := kit.WrapMaterial(t, k, id, kit.Material())
	require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, k.Clock.Now().Add(time.Hour))))
	k.Clock.Advance(time.Hour)
	require.Equal(t, kms.Report{Keys: 1, Expired: []string{id}}, kit.Maintain(t, k))
	require.NotContains(t, string(kit.StoredValue(t, k, "key/"+id)), "sealed")
	require.Equal(t, []string{id + "/1"}, r.Destroyed)
	require.Equal(t, kms.Report{Keys: 1}, kit.Maintain(t, k))
	require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})))
	require.NoError(t, kit.Err(k.Encrypt(ctx, id, nil, nil)))
}

// TestImportToken: of another key, changed, cut, too old to the nanosecond: refused, and
// nothing changed.
func TestImportToken(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := kit.ExternalKey(t, k)
	wrapped, token := kit.WrapMaterial(t, k, id, kit.Material())
	_, theirs := kit.WrapMaterial(t, k, kit.ExternalKey(t, k), kit.Material())
	before := kit.StoredValue(t, k, "key/"+id)
	bad := [][]byte{nil, {}, {1}, theirs, token[1:], make([]byte, 9000), append(bytes.Clone(token), 0)}
	for at := 0; at < len(token); at += 7 {
		flipped := bytes.Clone(token)
		flipped[at] ^= 1
		bad = append(bad, flipped, token[:at])
	}
	for _, bad := range bad {
		require.Equal(t, []string{"ErrImportToken"}, kit.Conditions(kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, bad, time.Time{}))))
	}
	require.Equal(t, before, kit.StoredValue(t, k, "key/"+id))
	k.Clock.AdvanceDays(1)
	err := kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{}))
	require.ErrorIs(t, err, kms.ErrImportToken)
	require.Equal(t, "ExpiredImportToken", kms.Code(err))
	k.Clock.Advance(-1)
	require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})))
	require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, id, nil)))
	require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})), "a token is good again while it lives")
}

// TestImportBadMaterial: what cannot be unwrapped, is too short, too long or garbled is one
// error, and binds the key to nothing.
func TestImportBadMaterial(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := kit.ExternalKey(t, k)
	for _, algorithm := range []kms.WrappingAlgorithm{kms.WrapOAEP, kms.WrapAESKeyWrap, kms.WrapAESECB} {
		p, err := k.GetParametersForImport(ctx, id, &kms.ImportOptions{Algorithm: algorithm})
		require.NoError(t, err)
		var bad [][]byte
		for n := range 65 {
			for _, b := range []byte{0, 255} {
				bad = append(bad, bytes.Repeat([]byte{b}, n), bytes.Repeat([]byte{b}, 256+n))
			}
			if n == 32 {
				continue
			}
			if wrapped, err := kms.WrapForImport(p, kit.Pattern(n)); err == nil {
				bad = append(bad, wrapped)
			}
			if algorithm == kms.WrapAESECB {
				bad = append(bad, wrapECB(t, p, kit.Pattern(n)), wrapECB(t, p, kit.Pattern(n))[:256+n])
			}
		}
		bad = append(bad, make([]byte, 9000))
		for _, wrapped := range bad {
			require.Equal(t, []string{"ErrMaterial"}, kit.Conditions(kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, p.Token, time.Time{}))))
		}
	}
	for _, at := range []time.Time{k.Clock.Now(), k.Clock.Now().Add(-1), time.Unix(0, 0)} {
		require.ErrorIs(t, kit.Err(k.ImportKeyMaterial(ctx, id, nil, nil, at)), kms.ErrInvalid)
	}
	for _, bad := range []kms.ImportOptions{{Spec: "RSA_1024"}, {Algorithm: "RSAES_PKCS1_V1_5"}} {
		require.ErrorIs(t, kit.Err(k.GetParametersForImport(ctx, id, &bad)), kms.ErrInvalid)
	}
	wrapped, token := kit.WrapMaterial(t, k, id, kit.Material())
	require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})))
}

// TestSameMaterialInTwoKeys: neither opens anything of the other, not even with the header
// exchanged.
func TestSameMaterialInTwoKeys(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	first, _, _ := kit.ImportedKey(t, k, kit.Material())
	second, _, _ := kit.ImportedKey(t, k, kit.Material())
	a, err := k.Encrypt(ctx, first, []byte("x"), nil)
	require.NoError(t, err)
	b, err := k.Encrypt(ctx, second, []byte("x"), nil)
	require.NoError(t, err)
	require.ErrorIs(t, kit.Err(k.Decrypt(ctx, append(bytes.Clone(b[:23]), a[23:]...), nil)), kms.ErrCiphertext)
	require.NotEqual(t, fingerprintOf(t, k, first), fingerprintOf(t, k, second), "equal material shows in the store")
}

func fingerprintOf(t *testing.T, k *kmstest.KMS, id string) string {
	_, rest, ok := bytes.Cut(kit.StoredValue(t, k, "key/"+id), []byte(`"fingerprint":"`))
	require.True(t, ok)
	f, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(f)
}

// TestImportFirstOfTwo: of two who import different material at once one wins, and the other
// is told.
func TestImportFirstOfTwo(t *testing.T) {
	for range 10 {
		k := kmstest.New(t)
		id := kit.ExternalKey(t, k)
		errs := make(chan error, 2)
		for i := range 2 {
			m := k.Another(t)
			wrapped, token := kit.WrapMaterial(t, k, id, bytes.Repeat([]byte{byte(i), 7}, 16))
			go func() { errs <- kit.Err(m.ImportKeyMaterial(context.Background(), id, wrapped, token, time.Time{})) }()
		}
		a, b := <-errs, <-errs
		require.NotEqual(t, a == nil, b == nil)
		require.ErrorIs(t, errors.Join(a, b), kms.ErrMaterial)
	}
}

// TestMaterialGone: a key without material tells of none, whether or not Maintain swept it.
func TestMaterialGone(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	key, err := k.CreateKey(ctx, &kms.CreateKeyOptions{Origin: kms.OriginExternal})
	require.NoError(t, err)
	p, err := k.GetParametersForImport(ctx, key.ID, nil)
	require.NoError(t, err)
	wrapped, err := kms.WrapForImport(p, kit.Pattern(32))
	require.NoError(t, err)
	imported, err := k.ImportKeyMaterial(ctx, key.ID, wrapped, p.Token, k.Clock.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, 1, imported.PrimaryVersion)
	k.Clock.Advance(time.Hour)
	for _, step := range []func() error{
		func() error { return nil }, func() error { return kit.Err(k.Maintain(ctx)) }, func() error { return kit.Err(k.DeleteKeyMaterial(ctx, key.ID, nil)) },
	} {
		require.NoError(t, step())
		got, err := k.DescribeKey(ctx, key.ID)
		require.NoError(t, err)
		require.Equal(t, key, got)
	}
}

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
	require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, id, nil)))
	allWrong(t, k, id, p, n/4) // PendingImport
	importRight()
	opens()

	require.NoError(t, k.RotateRoot(ctx, kit.Root(t, 2)))
	encrypt()
	require.NoError(t, kit.Err(k.DeleteKeyMaterial(ctx, id, nil)))
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
