package kms_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// The vectors were made once, by freeze_test.go, and are never made again: what was ever
// written must stay readable. A test that fails here found a format that changed.

// frozen is a whole key store, its root key and ciphertexts: testdata/vectors/ciphertext.json.
type frozen struct {
	Root        []byte            `json:"root"`  // guards nothing but this file
	Now         time.Time         `json:"now"`   // the clock with which to open it
	Store       map[string][]byte `json:"store"` // items by name
	Keys        map[string]string `json:"keys"`  // states by key ID
	Ciphertexts []frozenText      `json:"ciphertexts"`
}

type frozenText struct {
	Name       string                `json:"name"`
	Ciphertext []byte                `json:"ciphertext"`
	Context    kms.EncryptionContext `json:"context,omitempty"`
	Plaintext  []byte                `json:"plaintext"`
	Code       string                `json:"code,omitempty"` // of the refusal, where the key's state refuses
}

func readVectors(t testing.TB, name string, v any) {
	b, err := os.ReadFile(filepath.Join("testdata", "vectors", name))
	require.NoError(t, err)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(v))
}

func loadFrozen(t testing.TB) *frozen {
	var f frozen
	readVectors(t, "ciphertext.json", &f)
	require.GreaterOrEqual(t, len(f.Ciphertexts), 24)
	return &f
}

// memory is a new store with the frozen items.
func (f *frozen) memory(t testing.TB) *keystore.Memory {
	s := new(keystore.Memory)
	for name, value := range f.Store {
		_, err := s.Put(t.Context(), name, "", value)
		require.NoError(t, err)
	}
	return s
}

func (f *frozen) config(t testing.TB, s keystore.Store) kms.Config {
	root, err := software.NewRoot(f.Root)
	require.NoError(t, err)
	return kms.Config{Store: s, Root: root, Software: software.New(), Now: func() time.Time { return f.Now }, CacheKeys: 4}
}

func (f *frozen) open(t testing.TB) (*kms.Manager, *keystore.Memory) {
	s := f.memory(t)
	m, err := kms.Open(t.Context(), f.config(t, s))
	require.NoError(t, err)
	return m, s
}

// TestFrozenStore: a store of an older version opens, and every key is what it was.
func TestFrozenStore(t *testing.T) {
	f := loadFrozen(t)
	m, _ := f.open(t)
	states := map[string]bool{}
	for id, state := range f.Keys {
		states[state] = true
		key, err := m.DescribeKey(t.Context(), id)
		if state == kms.Deleted.String() {
			require.ErrorIs(t, err, kms.ErrNotFound)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, state, key.State.String())
	}
	require.Len(t, states, 4, "Enabled, Disabled, PendingDeletion and Deleted")
	report, err := m.Maintain(t.Context())
	require.NoError(t, err)
	require.Equal(t, kms.Report{Keys: len(f.Keys)}, report)
	for alias, err := range m.Aliases(t.Context(), "") {
		require.NoError(t, err)
		require.Contains(t, f.Store, alias.Name)
		require.Contains(t, f.Keys, alias.KeyID)
	}
}

// TestFrozenCiphertexts: what was encrypted once is decrypted, or refused by the state of
// its key.
func TestFrozenCiphertexts(t *testing.T) {
	f := loadFrozen(t)
	m, _ := f.open(t)
	for _, v := range f.Ciphertexts {
		t.Run(v.Name, func(t *testing.T) {
			plain, err := m.Decrypt(t.Context(), v.Ciphertext, v.Context)
			require.Equal(t, v.Code, kms.Code(err))
			if v.Code == "" {
				require.NoError(t, err)
				require.True(t, bytes.Equal(v.Plaintext, plain))
			}
		})
	}
}

// TestFrozenBits: not one bit of a ciphertext can be changed, nothing can be taken off it
// or put behind it, and no other of the contexts opens it.
func TestFrozenBits(t *testing.T) {
	f := loadFrozen(t)
	m, _ := f.open(t)
	refused := func(c []byte, ec kms.EncryptionContext, what string, at int) {
		if _, err := m.Decrypt(t.Context(), c, ec); err == nil || kms.Code(err) == "" {
			t.Fatalf("%s at %d: %v", what, at, err)
		}
	}
	for _, v := range f.Ciphertexts {
		step := 1 + len(v.Ciphertext)/512 // of the long ones a part
		for i := 0; i < len(v.Ciphertext); i += step {
			for bit := range 8 {
				c := bytes.Clone(v.Ciphertext)
				c[i] ^= 1 << bit
				refused(c, v.Context, v.Name+": a bit", i)
			}
			refused(v.Ciphertext[:i], v.Context, v.Name+": cut", i)
		}
		refused(append(slices.Clip(v.Ciphertext), 0), v.Context, v.Name+": longer", 0)
		for _, other := range f.Ciphertexts {
			if !bytes.Equal(kms.CanonicalContext(v.Context), kms.CanonicalContext(other.Context)) {
				refused(v.Ciphertext, other.Context, v.Name+": the context of "+other.Name, 0)
			}
		}
	}
}

// TestFrozenItems: not one byte of an item can be changed.
func TestFrozenItems(t *testing.T) {
	f := loadFrozen(t)
	m, s := f.open(t)
	for name, value := range f.Store {
		item, err := s.Get(t.Context(), name)
		require.NoError(t, err)
		version := item.Version
		for i := range value {
			changed := bytes.Clone(value)
			changed[i] ^= 1 << (i % 8)
			version, err = s.Put(t.Context(), name, version, changed)
			require.NoError(t, err)
			switch {
			case name == "instance/default":
				_, err = kms.Open(t.Context(), f.config(t, s))
				require.True(t, errors.Is(err, kms.ErrTampered) || errors.Is(err, kms.ErrRoot), "%s at %d: %v", name, i, err)
			case name[:4] == "key/":
				require.ErrorIs(t, kit.Err(m.DescribeKey(t.Context(), name[4:])), kms.ErrTampered, "%s at %d", name, i)
			default:
				require.ErrorIs(t, kit.Err(m.DescribeKey(t.Context(), name)), kms.ErrTampered, "%s at %d", name, i)
			}
		}
		_, err = s.Put(t.Context(), name, version, value)
		require.NoError(t, err)
	}
}
