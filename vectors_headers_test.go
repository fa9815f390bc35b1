package kms_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/wire"
	"github.com/stretchr/testify/require"
)

// frozenContext is an entry of testdata/vectors/context.json. The pairs are hex: a context
// need not be text.
type frozenContext struct {
	Name      string      `json:"name"`
	Pairs     [][2]string `json:"pairs"`
	Canonical string      `json:"canonical"`
	Hash      string      `json:"hash"` // "" where there is no context
}

func (v frozenContext) context(t testing.TB) kms.EncryptionContext {
	ec := kms.EncryptionContext{}
	for _, pair := range v.Pairs {
		key, err := hex.DecodeString(pair[0])
		require.NoError(t, err)
		value, err := hex.DecodeString(pair[1])
		require.NoError(t, err)
		ec[string(key)] = string(value)
	}
	require.Len(t, ec, len(v.Pairs))
	return ec
}

// TestFrozenContexts: encodings and hashes stay what they were, and no two are the same.
func TestFrozenContexts(t *testing.T) {
	var vectors []frozenContext
	readVectors(t, "context.json", &vectors)
	require.GreaterOrEqual(t, len(vectors), 20)
	seen := map[string]string{}
	for _, v := range vectors {
		ec := v.context(t)
		canonical := hex.EncodeToString(wire.AppendContext(nil, ec))
		require.Equal(t, v.Canonical, canonical, v.Name)
		require.Equal(t, v.Hash, hex.EncodeToString(wire.Bind(nil, ec).Data), v.Name)
		require.Empty(t, seen[canonical], v.Name)
		seen[canonical] = v.Name
		if sum := sha256.Sum256(wire.AppendContext(nil, ec)); v.Hash != "" {
			require.Equal(t, v.Hash, hex.EncodeToString(sum[:]), v.Name)
		}
		parsed, ok := parseContextSlowly(wire.AppendContext(nil, ec))
		require.True(t, ok && maps.Equal(ec, parsed), v.Name)
	}
}

// parseContextSlowly reads a canonical encoding, and accepts no other bytes.
func parseContextSlowly(b []byte) (kms.EncryptionContext, bool) {
	take := func(n uint32) (s string, ok bool) {
		if uint64(n) > uint64(len(b)) {
			return "", false
		}
		s, b = string(b[:n]), b[n:]
		return s, true
	}
	number := func() (uint32, bool) {
		s, ok := take(4)
		if !ok {
			return 0, false
		}
		return binary.BigEndian.Uint32([]byte(s)), true
	}
	text := func() (string, bool) {
		n, ok := number()
		if !ok {
			return "", false
		}
		return take(n)
	}
	pairs, ok := number()
	ec, last := kms.EncryptionContext{}, ""
	for i := uint32(0); ok && i < pairs; i++ {
		key, okKey := text()
		value, okValue := text()
		ok = okKey && okValue && (i == 0 || last < key)
		ec[key], last = value, key
	}
	return ec, ok && len(b) == 0
}

// frozenHeader is an entry of testdata/vectors/inspect.json.
type frozenHeader struct {
	Name       string         `json:"name"`
	Ciphertext string         `json:"ciphertext"` // hex
	KeyID      string         `json:"keyID,omitempty"`
	KeyVersion int            `json:"keyVersion,omitempty"`
	Protection kms.Protection `json:"protection,omitempty"` // "": it is no ciphertext
}

// TestFrozenHeaders: what a ciphertext says of itself stays what it was.
func TestFrozenHeaders(t *testing.T) {
	var vectors []frozenHeader
	readVectors(t, "inspect.json", &vectors)
	require.GreaterOrEqual(t, len(vectors), 12)
	for _, v := range vectors {
		c, err := hex.DecodeString(v.Ciphertext)
		require.NoError(t, err)
		info, err := kms.Inspect(c)
		require.Equal(t, v.Protection == "", err != nil, v.Name)
		require.Equal(t, kms.CiphertextInfo{KeyID: v.KeyID, KeyVersion: v.KeyVersion, Protection: v.Protection}, info, v.Name)
		if v.Protection == "" {
			require.ErrorIs(t, err, kms.ErrCiphertext, v.Name)
		}
	}
}
