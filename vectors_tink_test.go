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
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"
	"github.com/tink-crypto/tink-go/v2/tink"
)

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
	var in struct{ Store, Root []byte }
	body := bodyByHand(t, store["instance/default"])
	require.NoError(t, json.Unmarshal(body, &in))
	require.Equal(t, byte(1), in.Root[0])
	padded, err := tinkXAES(t, root).Decrypt(in.Root[1:], framedByHand("keyhold instance key v1", in.Store, "default"))
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
