package kms_test

import (
	"bytes"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/internal/wire"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"
	"github.com/tink-crypto/tink-go/v2/tink"
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
			if !bytes.Equal(wire.AppendContext(nil, v.Context), wire.AppendContext(nil, other.Context)) {
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

// TestVectorsByTinkAlone opens the frozen ciphertexts as one would who has the root key, a
// copy of the store, Tink and the description of the formats, but none of our code: with
// what is in this file, and nothing else.
func TestVectorsByTinkAlone(t *testing.T) {
	// Tink's XAES-256-GCM makes its own nonces, which fips140=only does not take.
	fips140.WithoutEnforcement(func() { vectorsByTinkAlone(t) })
}

func vectorsByTinkAlone(t *testing.T) {
	f := loadFrozen(t)
	secrets := openByHand(t, f.Root, f.Store)
	opened := 0
	for _, v := range f.Ciphertexts {
		c := v.Ciphertext
		require.Equal(t, []byte{1, 1, 0}, c[:3], v.Name)
		id, version := uuidText(c[3:19]), binary.BigEndian.Uint32(c[19:23])
		material, ok := secrets.materials[id][version]
		require.Equal(t, ok, v.Code != "Forbidden.KeyNotFound", "%s: material outlives its key, or the other way round", v.Name)
		if !ok {
			continue
		}
		ad := bytes.Clone(c[:23])
		if len(v.Context) > 0 {
			sum := sha256.Sum256(encodeContextByHand(v.Context))
			ad = append(ad, sum[:]...)
		}
		padded, err := material.aead.Decrypt(c[23:], ad)
		require.NoError(t, err, v.Name)
		require.Equal(t, append(make([]byte, 32), v.Plaintext...), padded, v.Name)
		opened++
	}
	require.GreaterOrEqual(t, opened, 20)
}

// handOpened are all the secrets of a key store.
type handOpened struct {
	instanceKey, sealKey, macKey []byte
	materials                    map[string]map[uint32]handMaterial // by key ID and version
}

type handMaterial struct {
	keyset, key []byte
	aead        tink.AEAD
}

// openByHand opens a whole key store with its root key, and checks every MAC.
func openByHand(t testing.TB, root []byte, store map[string][]byte) handOpened {
	var in struct {
		Store []byte
		Seals []struct{ Key []byte }
	}
	body := bodyByHand(t, store["instance/default"])
	require.NoError(t, json.Unmarshal(body, &in))
	require.Len(t, in.Seals, 1)
	sealed := in.Seals[0].Key
	require.Equal(t, byte(1), sealed[0])
	padded, err := tinkXAES(t, root).Decrypt(sealed[1:], framedByHand("keyhold instance key v1", in.Store, "default"))
	require.NoError(t, err)
	require.Equal(t, make([]byte, 32), padded[:32])
	o := handOpened{instanceKey: padded[32:], materials: map[string]map[uint32]handMaterial{}}
	o.sealKey, err = hkdf.Expand(sha256.New, o.instanceKey, "keyhold/v1/seal", 32)
	require.NoError(t, err)
	o.macKey, err = hkdf.Expand(sha256.New, o.instanceKey, "keyhold/v1/record-mac", 32)
	require.NoError(t, err)
	seal := tinkXAES(t, o.sealKey)
	for name, value := range store {
		body := bodyByHand(t, value)
		mac := hmac.New(sha256.New, o.macKey)
		mac.Write(framedByHand("keyhold record v1", in.Store, name, value[:len("\x01\x07default")], body))
		require.Equal(t, mac.Sum(nil), value[9:41], name)
		id, ok := strings.CutPrefix(name, "key/")
		if !ok {
			continue
		}
		var record struct {
			Versions []struct {
				Version uint32
				Sealed  []byte
			}
		}
		require.NoError(t, json.Unmarshal(body, &record))
		o.materials[id] = map[uint32]handMaterial{}
		for _, v := range record.Versions {
			raw, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
			require.NoError(t, err)
			where := framedByHand("keyhold material v1", in.Store, "default", raw, binary.BigEndian.AppendUint32(nil, v.Version))
			material, err := seal.Decrypt(v.Sealed, where)
			require.NoError(t, err, name)
			o.materials[id][v.Version] = materialByHand(t, material)
		}
	}
	return o
}

// bodyByHand is the JSON of an item: 1, the length of the instance's ID, the ID, the MAC, JSON.
func bodyByHand(t testing.TB, value []byte) []byte {
	body, ok := bytes.CutPrefix(value, []byte("\x01\x07default"))
	require.True(t, ok)
	return body[32:]
}

// materialByHand opens: 1, the length of the id, the id, a Tink keyset, SHA-256.
func materialByHand(t testing.TB, b []byte) handMaterial {
	body := b[:len(b)-32]
	sum := sha256.Sum256(body)
	require.Equal(t, sum[:], b[len(b)-32:])
	require.Equal(t, byte(1), body[0])
	m := handMaterial{keyset: body[2+int(body[1]):]}
	h, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(m.keyset)))
	require.NoError(t, err)
	entry, err := h.Primary()
	require.NoError(t, err)
	m.key = entry.Key().(*xaesgcm.Key).KeyBytes().Data(insecuresecretdataaccess.Token{})
	m.aead, err = aead.New(h)
	require.NoError(t, err)
	return m
}

// tinkXAES is Tink's XAES-256-GCM of 32 bytes.
func tinkXAES(t testing.TB, key []byte) tink.AEAD {
	params, err := xaesgcm.NewParameters(xaesgcm.VariantNoPrefix, 12)
	require.NoError(t, err)
	k, err := xaesgcm.NewKey(secretdata.NewBytesFromData(key, insecuresecretdataaccess.Token{}), 0, params)
	require.NoError(t, err)
	m := keyset.NewManager()
	id, err := m.AddKey(k)
	require.NoError(t, err)
	require.NoError(t, m.SetPrimary(id))
	h, err := m.Handle()
	require.NoError(t, err)
	a, err := aead.New(h)
	require.NoError(t, err)
	return a
}

// framedByHand puts each part behind its length.
func framedByHand(parts ...any) (b []byte) {
	for _, p := range parts {
		if s, ok := p.(string); ok {
			p = []byte(s)
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(p.([]byte))))
		b = append(b, p.([]byte)...)
	}
	return b
}

// encodeContextByHand is the number of pairs, then the pairs by key, all lengths in front.
func encodeContextByHand(ec map[string]string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(ec)))
	var keys []string
	for key := range ec {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		b = append(b, framedByHand(key, ec[key])...)
	}
	return b
}

func uuidText(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
