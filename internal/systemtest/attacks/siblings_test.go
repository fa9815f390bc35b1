package attacks_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"iter"
	"math"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/legacy/tinkset"
	"github.com/keyhold/kms/provider"
	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

func observed(told *[]kms.Event) func(*kms.Config) {
	return func(c *kms.Config) {
		c.Observe = func(_ context.Context, e kms.Event) {
			if e.Step != "" {
				*told = append(*told, e)
			}
		}
	}
}

// TestVersionsNotice: the notice that versions run out comes once and not too early, however many
// versions there may be, and also if two processes allow different numbers.
func TestVersionsNotice(t *testing.T) {
	for _, c := range [][2]int{{1000, 365}, {1000, 107}, {300, 365}, {50, 365}} {
		var told []kms.Event
		k := kmstest.New(t, observed(&told), func(config *kms.Config) { config.MaxKeyVersions = c[0] })
		require.NoError(t, kit.Err(k.UpdateRotationPolicy(t.Context(), k.MustCreateKey(t).ID, c[1])))
		kit.Maintain(t, k)
		require.Empty(t, told, "%d versions, each %d days", c[0], c[1])
	}
	var told []kms.Event
	k := kmstest.New(t, observed(&told), func(c *kms.Config) { c.MaxKeyVersions = 3 })
	require.NoError(t, kit.Err(k.UpdateRotationPolicy(t.Context(), k.MustCreateKey(t).ID, 7)))
	other := k.Another(t, observed(&told), func(c *kms.Config) { c.MaxKeyVersions = 50 })
	for range 20 {
		k.Clock.Advance(time.Minute)
		kit.Maintain(t, k)
		require.NoError(t, kit.Err(other.Maintain(t.Context())))
	}
	require.Len(t, told, 1)
	require.Equal(t, []any{kms.StepNoticed, kms.NoticeVersionsRunOut}, []any{told[0].Step, told[0].Notice})
}

// A fullProvider makes no more keys.
type fullProvider struct {
	provider.Provider
	full *bool
}

func (p fullProvider) Generate(ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
	if *p.full {
		return nil, errors.New("the token is full")
	}
	return p.Provider.Generate(ctx, id, spec, use)
}

// TestRetirementMakesRoom: a rotation that cannot be done does not keep a retirement, which may make
// the room that it wants.
func TestRetirementMakesRoom(t *testing.T) {
	ctx, full := t.Context(), false
	k := kmstest.New(t, func(c *kms.Config) { c.Software = fullProvider{c.Software, &full} })
	id := k.MustCreateKey(t).ID
	require.NoError(t, kit.Err(k.RotateKey(ctx, id)))
	require.NoError(t, kit.Err(k.UpdateRotationPolicy(ctx, id, 7)))
	require.NoError(t, kit.Err(k.RetireKeyVersions(ctx, id, kms.RetireOptions{Before: 2, Days: 7})))
	full = true
	var retired []string
	for range 3 {
		k.Clock.AdvanceDays(8)
		report, _ := k.Maintain(ctx)
		retired = append(retired, report.Retired...)
	}
	require.Equal(t, []string{id}, retired)
}

// TestImportTakesNothingAway: deletion protection, of the key or of its instance, keeps an import from
// moving the end of the material nearer.
func TestImportTakesNothingAway(t *testing.T) {
	ctx := t.Context()
	for name, protect := range map[string]func(*kmstest.KMS, string) error{
		"key": func(k *kmstest.KMS, id string) error { return kit.Err(k.SetDeletionProtection(ctx, id, true, "why")) },
		"instance": func(k *kmstest.KMS, _ string) error {
			return kit.Err(k.SetInstanceDeletionProtection(ctx, kms.DefaultInstance, kms.InstanceProtection{On: true, Reason: "why"}))
		},
	} {
		k := kmstest.New(t)
		id, wrapped, token := kit.ImportedKey(t, k, kit.Material())
		until := func(days int) time.Time { return k.Clock.Now().AddDate(0, 0, days) }
		require.NoError(t, protect(k, id))
		require.ErrorIs(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, until(1))), kms.ErrProtected, name)
		require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, time.Time{})), "it does not end")
		require.NoError(t, kit.Err(k.SetDeletionProtection(ctx, id, false, "")))
		require.NoError(t, kit.Err(k.SetInstanceDeletionProtection(ctx, kms.DefaultInstance, kms.InstanceProtection{})))
		require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, until(10))))
		require.NoError(t, protect(k, id))
		require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, until(10))), "the same again")
		require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, until(20))), "later")
		require.ErrorIs(t, kit.Err(k.ImportKeyMaterial(ctx, id, wrapped, token, until(19))), kms.ErrProtected, name)
	}
}

func none(func(kms.Wrapped, error) bool) {}

func put(context.Context, kms.Wrapped, []byte) error { return nil }

// of yields one ciphertext.
func of(w kms.Wrapped, first func()) func(string) iter.Seq2[kms.Wrapped, error] {
	return func(string) iter.Seq2[kms.Wrapped, error] {
		return func(yield func(kms.Wrapped, error) bool) {
			first()
			yield(w, nil)
		}
	}
}

// TestRewrapEdges: any pace, a loop that is nil, a context that ends, and a source that is missing.
func TestRewrapEdges(t *testing.T) {
	ctx := t.Context()
	old := kit.OldKeyring(t, "invoices", 2)
	k := kmstest.New(t, kit.WithSources(old.Source))
	id := k.MustCreateKey(t).ID
	_, err := k.Rewrap(ctx, id, func(string) iter.Seq2[kms.Wrapped, error] { return none }, put, &kms.RewrapOptions{PerSecond: math.MaxInt})
	require.NoError(t, err)
	require.ErrorIs(t, kit.Err(k.Rewrap(ctx, id, func(string) iter.Seq2[kms.Wrapped, error] { return nil }, put, nil)), kms.ErrInvalid)

	foreign := make([]byte, 80)
	copy(foreign, legacy.NameID("test", "another version"))
	ended, end := context.WithCancel(ctx)
	err = kit.Err(k.Rewrap(ended, id, of(kms.Wrapped{ID: "1", Ciphertext: foreign}, end), put, nil))
	require.Equal(t, []string{"ErrCanceled"}, kit.Conditions(err))

	require.NoError(t, kit.Err(k.MigrateLegacyKey(ctx, old.ID, "")))
	handle, err := keyset.NewHandle(aead.AES256GCMNoPrefixKeyTemplate())
	require.NoError(t, err)
	raw, err := tinkset.New(tinkset.Keyset{Name: "raw", Handle: handle}) // it may have made any ciphertext
	require.NoError(t, err)
	mine := kms.Wrapped{ID: "1", Ciphertext: old.Ciphertexts[0], Context: old.EC}
	for _, sources := range [][]legacy.Source{nil, {raw}} {
		m := k.Another(t, func(c *kms.Config) { c.Legacy = sources })
		report, err := m.Rewrap(ctx, old.ID, of(mine, func() {}), put, nil)
		require.Error(t, err, "what the key made itself is passed over")
		require.False(t, report.Complete)
	}
}

// TestTypedNilOptions: options that are a nil pointer are refused.
func TestTypedNilOptions(t *testing.T) {
	ctx, k := t.Context(), kmstest.New(t)
	signer, err := k.Signer(ctx, kit.Key(t, k, kms.SpecECP256, kms.UsageSignVerify))
	require.NoError(t, err)
	require.ErrorIs(t, kit.Err(signer.Sign(nil, make([]byte, 32), (*rsa.PSSOptions)(nil))), kms.ErrUsage)
	require.ErrorIs(t, kit.Err(signer.Sign(nil, make([]byte, 32), (*ed25519.Options)(nil))), kms.ErrUsage)
	decrypter, err := k.Decrypter(ctx, kit.Key(t, k, kms.SpecRSA2048, kms.UsageEncryptDecrypt))
	require.NoError(t, err)
	require.ErrorIs(t, kit.Err(decrypter.Decrypt(nil, make([]byte, 256), (*rsa.OAEPOptions)(nil))), kms.ErrUsage)
}

// TestDeniedOfLocators: a denied caller does not learn which ciphertexts of another system have a key.
func TestDeniedOfLocators(t *testing.T) {
	version := legacy.NameID("test", "v")
	ring, err := keyring.New(legacy.Key{ID: legacy.NameID("test", "k"), Versions: []legacy.Version{keyring.NewVersion(version, time.Now(), kit.OldMaterial("k"))}})
	require.NoError(t, err)
	asked := 0
	k := kmstest.New(t, kit.WithSources(ring), func(c *kms.Config) {
		c.Authorize = func(context.Context, kms.Request) error { asked++; return errors.New("no") }
	})
	var said []string
	for _, v := range []string{version, legacy.NameID("test", "another version")} {
		foreign := make([]byte, 80)
		copy(foreign, v)
		asked = 0
		for _, err := range []error{kit.Err(k.Decrypt(t.Context(), foreign, nil)), kit.Err(k.NeedsRewrap(t.Context(), foreign))} {
			require.Equal(t, []string{"ErrDenied"}, kit.Conditions(err))
			said = append(said, err.Error())
		}
		require.Equal(t, 2, asked)
	}
	require.Equal(t, said[:2], said[2:])
}

// A stopping store ends a context when an item is read.
type stopping struct {
	keystore.Store
	name string
	end  func()
}

func (s stopping) Get(ctx context.Context, name string) (keystore.Item, error) {
	item, err := s.Store.Get(ctx, name)
	if name == s.name {
		s.end()
	}
	return item, err
}

// TestBlockedWhileEnding: what stands in the way of a call is one error, also if its context ended just then.
func TestBlockedWhileEnding(t *testing.T) {
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	require.NoError(t, kit.Err(k.AddDependent(t.Context(), id, kms.Dependent{Name: "a"})))
	require.NoError(t, kit.Err(k.SetDeletionProtection(t.Context(), id, true, "why")))
	ctx, cancel := context.WithCancel(t.Context())
	end := func() {}
	m := k.Another(t, func(c *kms.Config) { c.Store = stopping{c.Store, "instance/default", func() { end() }} })
	end = cancel
	var blocked *kms.BlockedError
	require.ErrorAs(t, kit.Err(m.ScheduleKeyDeletion(ctx, id, 7)), &blocked)
	require.Len(t, blocked.Blockers, 3)
}
