package keyring_test

import (
	"bytes"
	"crypto/fips140"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/internal/vectors"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/legacy/legacytest"
)

const (
	keyA = "00000000-0000-4000-8000-00000000000a"
	keyB = "00000000-0000-4000-8000-00000000000b"
	verA = "11111111-0000-4000-8000-00000000000a"
	verB = "11111111-0000-4000-8000-00000000000b"
)

// TestSuite: keys given to New, and keys that went through a file.
func TestSuite(t *testing.T) {
	t.Parallel()
	subject := func(t *testing.T, s *keyring.Source) legacytest.Subject {
		bare, err := keyring.New()
		require.NoError(t, err)
		id := []byte(verA)
		return legacytest.Subject{Source: s, Bare: bare, Known: known(t), Foreign: [][]byte{
			id, append(id, make([]byte, 27)...), bytes.Repeat([]byte("-"), 100), make([]byte, 100),
			append(bytes.ToUpper([]byte(verA)), make([]byte, 28)...), append([]byte{'{'}, append(id, make([]byte, 28)...)...),
		}}
	}
	t.Run("New", func(t *testing.T) {
		t.Parallel()
		legacytest.Run(t, func(t *testing.T) legacytest.Subject {
			s, err := keyring.New(vectorKeys(t)...)
			require.NoError(t, err)
			return subject(t, s)
		})
	})
	t.Run("Open", func(t *testing.T) {
		t.Parallel()
		path, root := newFile(t, vectorKeys(t)...), newRoot(t)
		legacytest.Run(t, func(t *testing.T) legacytest.Subject {
			s, err := keyring.Open(path, root)
			require.NoError(t, err)
			return subject(t, s)
		})
	})
}

func TestNew(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte("key!"), 8)
	a := legacy.Key{ID: keyA, Versions: []legacy.Version{keyring.NewVersion(verA, time.Time{}, key)}}
	b := legacy.Key{ID: keyB, Versions: []legacy.Version{keyring.NewVersion(verB, time.Time{}, key)}}
	given := []legacy.Key{b, a}
	s, err := keyring.New(given...)
	require.NoError(t, err)
	given[0].Versions[0] = legacy.Version{}
	var ids []string
	for k, err := range s.Keys(t.Context()) {
		require.NoError(t, err)
		require.NoError(t, k.Check())
		ids = append(ids, k.ID)
	}
	require.Equal(t, []string{keyA, keyB}, ids, "sorted, whatever order they are given in")

	with := func(v ...legacy.Version) []legacy.Key { return []legacy.Key{{ID: keyA, Versions: v}} }
	for name, keys := range map[string][]legacy.Key{
		"no key":                {{}},
		"no version":            with(),
		"a key twice":           {a, {ID: keyA, Versions: []legacy.Version{keyring.NewVersion(verB, time.Time{}, key)}}},
		"a version twice":       with(keyring.NewVersion(verA, time.Time{}, key), keyring.NewVersion(verA, time.Time{}, key)),
		"in two keys":           {a, {ID: keyB, Versions: a.Versions}},
		"a locator, no UUID":    with(keyring.NewVersion("v1", time.Time{}, key)),
		"upper case":            with(keyring.NewVersion(strings.ToUpper(verA), time.Time{}, key)),
		"no AES key":            with(keyring.NewVersion(verA, time.Time{}, key[:31])),
		"an empty key":          with(keyring.NewVersion(verA, time.Time{}, nil)),
		"of another form":       with(legacy.NewVersion(verA, time.Time{}, append([]byte{2}, key...))),
		"of another NewVersion": with(legacy.NewVersion(verA, time.Time{}, key)),
	} {
		s, err := keyring.New(keys...)
		require.ErrorIs(t, err, keyring.ErrKeys, name)
		require.Nil(t, s)
		require.NotContains(t, err.Error(), "key!")
	}
}

// TestNotInjective: two contexts that the old service could not tell apart open the same. Should
// this fail, old ciphertexts no longer open.
func TestNotInjective(t *testing.T) {
	t.Parallel()
	key, iv := make([]byte, 32), make([]byte, 12)
	s, err := keyring.New()
	require.NoError(t, err)
	o, err := s.Open(verA, keyring.NewVersion(verA, time.Time{}, key).Material())
	require.NoError(t, err)
	var c []byte
	fips140.WithoutEnforcement(func() { c = encrypt(t, verA, key, iv, []byte("x"), map[string]string{"a": "b&c=d"}) })
	for _, ec := range []map[string]string{{"a": "b&c=d"}, {"a": "b", "c": "d"}} {
		plaintext, err := o.Decrypt(c, ec)
		require.NoError(t, err)
		require.Equal(t, "x", string(plaintext))
	}
	_, err = o.Decrypt(c, map[string]string{"a": "b"})
	require.ErrorIs(t, err, legacy.ErrCiphertext)
}

// FuzzKeyringDecrypt: whatever is given for a ciphertext and its context, nothing opens but what
// was encrypted, and what is located begins with its locator.
func FuzzKeyringDecrypt(f *testing.F) {
	vs := vectors.Read[vector](f)
	for _, v := range vs {
		f.Add([]byte(v.Ciphertext), "", "")
		f.Add([]byte(v.Ciphertext), "tenant", "seven")
	}
	s, err := keyring.New()
	require.NoError(f, err)
	v := vs[0]
	opened, err := s.Open(v.VersionID, keyring.NewVersion(v.VersionID, time.Time{}, v.Key).Material())
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, c []byte, key, value string) {
		locators := s.Locate(c)
		if len(locators) > 0 {
			require.Len(t, locators, 1)
			require.True(t, legacy.ValidLocator(locators[0]))
			require.True(t, bytes.HasPrefix(c, []byte(locators[0])))
		}
		ec := map[string]string{}
		if key+value != "" {
			ec[key] = value
		}
		plaintext, err := opened.Decrypt(c, ec)
		if err != nil {
			require.ErrorIs(t, err, legacy.ErrCiphertext)
			require.Nil(t, plaintext)
			return
		}
		for _, v := range vs {
			if bytes.Equal(v.Ciphertext, c) {
				require.True(t, bytes.Equal(v.Plaintext, plaintext))
				return
			}
		}
		t.Fatal("something opened that nobody encrypted")
	})
}
