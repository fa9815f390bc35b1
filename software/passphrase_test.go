package software_test

import (
	"crypto/fips140"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

// cheaply is a derivation that costs nothing, for what is not about Argon2id.
func cheaply(secret []byte) func(salt []byte) []byte {
	return func(salt []byte) []byte {
		sum := sha256.Sum256(slices.Concat(secret, salt))
		return sum[:]
	}
}

// counting is cheaply, and counts.
func counting(secret []byte, n *atomic.Int64) func(salt []byte) []byte {
	return func(salt []byte) []byte {
		n.Add(1)
		return cheaply(secret)(salt)
	}
}

// rootFromPassphrase is the real thing, where the process's FIPS enforcement refuses it too.
func rootFromPassphrase(t *testing.T, passphrase string) (r *software.Root) {
	t.Helper()
	fips140.WithoutEnforcement(func() {
		b := []byte(passphrase)
		var err error
		r, err = software.NewRootFromPassphrase(b)
		require.NoError(t, err)
		clear(b) // it was copied
	})
	return r
}

func TestPassphrase(t *testing.T) {
	t.Parallel()
	a, b := rootFromPassphrase(t, "correct horse"), rootFromPassphrase(t, "correct horse")
	ad := []byte("associated data")
	sealed, err := a.Encrypt([]byte("plaintext"), ad)
	require.NoError(t, err)
	opened, err := b.Decrypt(sealed, ad)
	require.NoError(t, err)
	require.Equal(t, "plaintext", string(opened))

	_, err = rootFromPassphrase(t, "correct hors ").Decrypt(sealed, ad)
	require.ErrorIs(t, err, software.ErrRootCiphertext)
}

// TestPassphraseVector opens what was sealed when the format was made. The key behind it
// is Argon2id, version 19, of that salt: 3 passes, 64 MiB, 4 lanes, 32 bytes.
func TestPassphraseVector(t *testing.T) {
	t.Parallel()
	opened, err := rootFromPassphrase(t, vectorPassphrase).Decrypt(unhex(t, vectorPassphraseSealed), []byte(vectorAD))
	require.NoError(t, err)
	require.Equal(t, vectorPlaintext, string(opened))
}

func TestShortPassphrase(t *testing.T) {
	t.Parallel()
	fips140.WithoutEnforcement(func() {
		for n := range software.MinPassphraseSize {
			r, err := software.NewRootFromPassphrase([]byte("correct horse")[:n])
			require.ErrorIs(t, err, software.ErrPassphrase)
			require.Nil(t, r)
		}
		_, err := software.NewRootFromPassphrase([]byte("twelve bytes"))
		require.NoError(t, err)
	})
}

// TestPassphraseUnderFIPS runs this test again in a process that enforces FIPS 140.
func TestPassphraseUnderFIPS(t *testing.T) {
	t.Parallel()
	if fips140.Enforced() {
		r, err := software.NewRootFromPassphrase([]byte("correct horse"))
		require.ErrorIs(t, err, provider.ErrUnsupported)
		require.Nil(t, r)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPassphraseUnderFIPS$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestPassphraseUnderFIPS")
}

// TestOneDerivation: a root derives once for what it seals, whoever opens it there, and
// once for what another process sealed.
func TestOneDerivation(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	r, other := software.NewRootDerivedBy(counting(nil, &n)), software.NewRootDerivedBy(cheaply(nil))
	require.Zero(t, n.Load(), "nothing is derived before it is needed")
	for range 5 {
		sealed, err := r.Encrypt([]byte("plaintext"), nil)
		require.NoError(t, err)
		_, err = r.Decrypt(sealed, nil)
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, n.Load())
	for range 5 {
		sealed, err := other.Encrypt([]byte("plaintext"), nil)
		require.NoError(t, err)
		_, err = r.Decrypt(sealed, nil)
		require.NoError(t, err)
	}
	require.EqualValues(t, 2, n.Load())
}

// TestDerivedKeysAreBounded: many salts do not fill the memory, made-up ones drive none
// out, and the root's own key stays.
func TestDerivedKeysAreBounded(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	r := software.NewRootDerivedBy(counting(nil, &n))
	own, err := r.Encrypt([]byte("plaintext"), nil)
	require.NoError(t, err)

	opens := func(sealed []byte) (derivations int64) {
		t.Helper()
		before := n.Load()
		_, err := r.Decrypt(sealed, nil)
		require.NoError(t, err)
		return n.Load() - before
	}
	var foreign [][]byte
	for range software.DerivedKeysKept + 1 {
		sealed, err := software.NewRootDerivedBy(cheaply(nil)).Encrypt([]byte("plaintext"), nil)
		require.NoError(t, err)
		foreign = append(foreign, sealed)
		require.EqualValues(t, 1, opens(sealed))
	}
	for range 3 * software.DerivedKeysKept {
		_, err := r.Decrypt(append([]byte{2}, randomBytes(t, 100)...), nil)
		require.ErrorIs(t, err, software.ErrRootCiphertext)
	}
	for _, sealed := range foreign[1:] {
		require.Zero(t, opens(sealed), "one of the last ones")
	}
	require.EqualValues(t, 1, opens(foreign[0]), "the first one was forgotten")
	require.Zero(t, opens(own))
}

// TestPassphraseManyGoroutines: derivations never run two at a time.
func TestPassphraseManyGoroutines(t *testing.T) {
	t.Parallel()
	var deriving, most atomic.Int64
	derive := func(salt []byte) []byte {
		most.Store(max(most.Load(), deriving.Add(1)))
		defer deriving.Add(-1)
		return cheaply(nil)(salt)
	}
	r := software.NewRootDerivedBy(derive)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			other := software.NewRootDerivedBy(cheaply(nil))
			for range 10 {
				sealed, err := other.Encrypt([]byte("plaintext"), nil)
				if err == nil {
					_, err = r.Decrypt(sealed, nil)
				}
				if err != nil {
					t.Errorf("%v", err)
				}
				if sealed, err = r.Encrypt([]byte("plaintext"), nil); err == nil {
					_, err = other.Decrypt(sealed, nil)
				}
				if err != nil {
					t.Errorf("%v", err)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, most.Load())
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}
