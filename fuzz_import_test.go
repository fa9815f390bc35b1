package kms_test

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// fuzzedImport is a key that waits for its material, with what would import it.
func fuzzedImport(f *testing.F, algorithm kms.WrappingAlgorithm) (k *kmstest.KMS, id string, wrapped, token []byte) {
	k = kmstest.New(f)
	key, err := k.CreateKey(f.Context(), &kms.CreateKeyOptions{Origin: kms.OriginExternal})
	require.NoError(f, err)
	p, err := k.GetParametersForImport(f.Context(), key.ID, &kms.ImportOptions{Algorithm: algorithm})
	require.NoError(f, err)
	wrapped, err = kms.WrapForImport(p, kit.Material())
	require.NoError(f, err)
	return k, key.ID, wrapped, p.Token
}

// FuzzImportBlob: no wrapped material but the owner's is taken, all else is one error, and the
// key is as it was.
func FuzzImportBlob(f *testing.F) {
	k, id, wrapped, token := fuzzedImport(f, kms.WrapAESKeyWrap)
	for _, seed := range [][]byte{nil, wrapped, wrapped[:256], wrapped[256:], wrapped[:len(wrapped)-1], append(bytes.Clone(wrapped), 0), make([]byte, 9000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, blob []byte) {
		if bytes.Equal(blob, wrapped) {
			return
		}
		err := kit.Err(k.ImportKeyMaterial(t.Context(), id, blob, token, time.Time{}))
		require.Equal(t, []string{"ErrMaterial"}, kit.Conditions(err))
		require.False(t, len(blob) >= 8 && strings.Contains(err.Error(), string(blob)))
		key, err := k.DescribeKey(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, kms.PendingImport, key.State)
	})
}

// FuzzImportToken: no token but the one that was given out is taken.
func FuzzImportToken(f *testing.F) {
	k, id, wrapped, token := fuzzedImport(f, kms.WrapOAEP)
	for _, seed := range [][]byte{nil, {1}, token, token[1:], token[:len(token)-1], append(bytes.Clone(token), 0), make([]byte, 9000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, forged []byte) {
		if bytes.Equal(forged, token) {
			return
		}
		err := kit.Err(k.ImportKeyMaterial(t.Context(), id, wrapped, forged, time.Time{}))
		require.Equal(t, []string{"ErrImportToken"}, kit.Conditions(err))
		require.False(t, len(forged) >= 8 && strings.Contains(err.Error(), string(forged)))
	})
}

// FuzzRewrap: wherever a Rewrap is told to go on, and whatever is kept there, it deals with
// each item behind that place once, in order, and stops at the first that is no ciphertext.
func FuzzRewrap(f *testing.F) {
	k := kmstest.New(f)
	id := k.MustCreateKey(f).ID
	old, err := k.Encrypt(f.Context(), id, []byte("x"), nil)
	require.NoError(f, err)
	require.NoError(f, kit.Err(k.RotateKey(f.Context(), id)))
	f.Add("", "a", old)
	f.Add("a", "b", old[:30])
	f.Add("\xff", "", []byte(nil))
	f.Fuzz(func(t *testing.T, after, name string, kept []byte) {
		s := kit.Shelf{"a": {ID: "a", Ciphertext: old}, name: {ID: name, Ciphertext: kept}, "z": {ID: "z", Ciphertext: old}}
		var seen []string
		items := func(after string) iter.Seq2[kms.Wrapped, error] {
			return func(yield func(kms.Wrapped, error) bool) {
				for w, err := range s.Items(after) {
					seen = append(seen, w.ID)
					if !yield(w, err) {
						return
					}
				}
			}
		}
		report, err := k.Rewrap(t.Context(), id, items, s.Put, &kms.RewrapOptions{After: after})
		require.True(t, slices.IsSorted(seen))
		require.Equal(t, err == nil, report.Complete)
		done := report.Rewrapped + report.Current + report.Others
		if err != nil {
			require.True(t, errors.Is(err, kms.ErrCiphertext) || errors.Is(err, kms.ErrNotFound), err)
			require.Len(t, seen, done+1)
			return
		}
		require.Len(t, seen, done)
		again, err := k.Rewrap(t.Context(), id, s.Items, s.Put, &kms.RewrapOptions{After: after})
		require.NoError(t, err)
		require.Zero(t, again.Rewrapped)
	})
}
