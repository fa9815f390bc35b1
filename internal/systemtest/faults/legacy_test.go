package faults_test

import (
	"context"
	"errors"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy"
	"github.com/stretchr/testify/require"
)

// A lameSource does not open keys, or opens keys that do not decrypt.
type lameSource struct {
	legacy.Source
	open, decrypt error
}

func (s *lameSource) Open(locator string, material []byte) (legacy.Opener, error) {
	if s.open != nil {
		return nil, s.open
	}
	opener, err := s.Source.Open(locator, material)
	return lameOpener{opener, s}, err
}

type lameOpener struct {
	legacy.Opener
	of *lameSource
}

func (o lameOpener) Decrypt(ciphertext []byte, ec map[string]string) ([]byte, error) {
	if o.of.decrypt != nil {
		return nil, o.of.decrypt
	}
	return o.Opener.Decrypt(ciphertext, ec)
}

// TestLameSource: what a source of another system cannot do is told by a condition of this package
// and without a word of the source, which may have secrets in it; a key that was taken over is no
// different; and it opens when the source can again.
func TestLameSource(t *testing.T) {
	for name, row := range map[string]struct {
		lame lameSource
		want string
	}{
		"does not open":      {lameSource{open: errors.New("hunter2")}, "ErrMaterialGone"},
		"has other material": {lameSource{open: legacy.ErrMaterial}, "ErrMaterialGone"},
		"is not allowed to":  {lameSource{open: legacy.ErrUnsupported}, "ErrUnsupported"},
		"does not decrypt":   {lameSource{decrypt: errors.New("hunter2")}, "ErrMaterialGone"},
		"may not decrypt":    {lameSource{decrypt: legacy.ErrUnsupported}, "ErrUnsupported"},
		"finds it damaged":   {lameSource{decrypt: legacy.ErrCiphertext}, "ErrCiphertext"},
	} {
		for _, taken := range []bool{false, true} {
			old, source := kit.OldKeyring(t, "invoices", 2), row.lame
			source.Source = old.Source
			k := kmstest.New(t, kit.WithSources(&source))
			if taken {
				require.NoError(t, kit.Err(k.MigrateLegacyKey(t.Context(), old.ID, "")))
			}
			before := kit.StoredItems(t, k)
			_, err := k.Decrypt(t.Context(), old.Ciphertexts[0], old.EC)
			require.Equal(t, []string{row.want}, kit.Conditions(err), "%s: %v", name, err)
			require.NotContains(t, err.Error(), "hunter2")
			source.open, source.decrypt = nil, nil
			require.NoError(t, kit.Err(k.Decrypt(t.Context(), old.Ciphertexts[0], old.EC)), name)
			require.Equal(t, before, kit.StoredItems(t, k))
		}
	}
}

// TestOldCiphertextsAreAuthorized: what another system made is opened, and told of, where Authorize
// allows that for the key that may have made it.
func TestOldCiphertextsAreAuthorized(t *testing.T) {
	ctx, no := t.Context(), errors.New("no")
	for _, taken := range []bool{false, true} {
		old := kit.OldKeyring(t, "invoices", 1)
		k := kmstest.New(t, kit.WithSources(old.Source))
		if taken {
			require.NoError(t, kit.Err(k.MigrateLegacyKey(ctx, old.ID, "")))
		}
		var asked []kms.Request
		m := k.Another(t, func(c *kms.Config) {
			c.Authorize = func(_ context.Context, r kms.Request) error { asked = append(asked, r); return no }
		})
		for name, err := range map[string]error{
			"Decrypt":     kit.Err(m.Decrypt(ctx, old.Ciphertexts[0], old.EC)),
			"NeedsRewrap": kit.Err(m.NeedsRewrap(ctx, old.Ciphertexts[0])),
		} {
			require.Equal(t, []string{"ErrDenied"}, kit.Conditions(err), name)
			require.ErrorIs(t, err, no)
		}
		require.Len(t, asked, 2)
		require.Equal(t, old.ID, asked[0].KeyID)
		require.Equal(t, old.ID, asked[1].KeyID)
		moves, err := k.NeedsRewrap(ctx, old.Ciphertexts[0])
		require.NoError(t, err)
		require.Equal(t, taken, moves, "there is a version to encrypt with")
	}
}
