package wire_test

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/wire"
	"github.com/stretchr/testify/require"
)

var sound = wire.Header{Suite: wire.HSM, ID: keyid.ID{0: 1, 15: 2}, Version: 7}

// TestParse: what Append writes is read, and nothing that differs from it in a byte that is not
// free.
func TestParse(t *testing.T) {
	start := sound.Append(nil)
	require.Len(t, start, wire.HeaderSize)
	h, payload, ok := wire.Parse(append(slices.Clip(start), "payload"...))
	require.True(t, ok)
	require.Equal(t, sound, h)
	require.Equal(t, "payload", string(payload))

	with := func(at int, b byte) []byte {
		c := bytes.Clone(start)
		c[at] = b
		return c
	}
	for what, c := range map[string][]byte{
		"nothing":            nil,
		"a byte is missing":  start[:wire.HeaderSize-1],
		"another format":     with(0, 2),
		"no suite":           with(1, 0),
		"an unknown suite":   with(1, 3),
		"a flag":             with(2, 1),
		"no version":         with(wire.HeaderSize-1, 0),
		"longer than it may": append(slices.Clip(start), make([]byte, wire.MaxCiphertext-wire.HeaderSize+1)...),
	} {
		_, _, ok := wire.Parse(c)
		require.False(t, ok, what)
	}
	_, _, ok = wire.Parse(append(slices.Clip(start), make([]byte, wire.MaxCiphertext-wire.HeaderSize)...))
	require.True(t, ok, "the longest")
}

// TestBind: without a context the associated data is the header; with one, the header and a hash.
// What was freed may be used again, and does not show.
func TestBind(t *testing.T) {
	start := sound.Append(nil)
	require.Equal(t, start, wire.Bind(start, nil).Data)
	require.Equal(t, start, wire.Bind(start, map[string]string{}).Data)
	for _, context := range []map[string]string{{"a": "b"}, {"": ""}, {"a": "", "b": ""}, {"a": "b"}} {
		sum := sha256.Sum256(wire.AppendContext(nil, context))
		b := wire.Bind(start, context)
		require.Equal(t, append(bytes.Clone(start), sum[:]...), b.Data)
		b.Free()
	}
}

// TestAppendContext: no two contexts have one encoding, however their strings are cut.
func TestAppendContext(t *testing.T) {
	seen := map[string]bool{}
	for _, context := range []map[string]string{
		nil, {"": ""}, {"a": ""}, {"": "a"}, {"ab": "c"}, {"a": "bc"}, {"a": "b", "c": ""}, {"a": "b", "c": "d"}, {"a": "b\x00\x00\x00\x01c"},
		{"1": "", "2": "", "3": "", "4": "", "5": "", "6": "", "7": "", "8": "", "9": ""},
	} {
		encoded := string(wire.AppendContext(nil, context))
		require.False(t, seen[encoded], "%v", context)
		seen[encoded] = true
	}
}
