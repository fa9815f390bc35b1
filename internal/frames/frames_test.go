package frames_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"slices"
	"testing"

	"github.com/keyhold/kms/internal/frames"
	"github.com/keyhold/kms/internal/xaes"
	"github.com/stretchr/testify/require"
)

func newKey(t *testing.T) *xaes.Key {
	key := make([]byte, xaes.KeySize)
	rand.Read(key)
	k, err := xaes.New(key)
	require.NoError(t, err)
	return k
}

func seal(t *testing.T, key *xaes.Key, header string, stream []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := frames.NewWriter(&b, key, sha256.Sum256([]byte(header)))
	n, err := w.Write(stream)
	require.NoError(t, err)
	require.Equal(t, len(stream), n)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func open(key *xaes.Key, header string, sealed []byte) ([]byte, error) {
	return io.ReadAll(frames.NewReader(bufio.NewReader(bytes.NewReader(sealed)), key, sha256.Sum256([]byte(header))))
}

// TestFrames: frames of equal content are told apart by their place, by whether they are the last,
// and by their header, under one key.
func TestFrames(t *testing.T) {
	key := newKey(t)
	for _, n := range []int{1, frames.Size - 1, frames.Size, frames.Size + 1, 3 * frames.Size, 3*frames.Size + 5} {
		stream := make([]byte, n)
		sealed := seal(t, key, "acme", stream)
		require.Len(t, sealed, n+xaes.Overhead*((n+frames.Size-1)/frames.Size))
		opened, err := open(key, "acme", sealed)
		require.NoError(t, err)
		require.True(t, bytes.Equal(stream, opened))
	}
	whole := seal(t, key, "acme", make([]byte, 4*frames.Size))
	all := slices.Collect(slices.Chunk(whole, frames.Size+xaes.Overhead))
	require.Len(t, all, 4)
	for _, wrong := range []struct {
		what   string
		frames [][]byte
	}{
		{"none", nil},
		{"the second first", [][]byte{all[1], all[0], all[2], all[3]}},
		{"one left out", [][]byte{all[0], all[2], all[3]}},
		{"one twice", [][]byte{all[0], all[0], all[1], all[2], all[3]}},
		{"the last left out", [][]byte{all[0], all[1], all[2]}},
		{"the last twice", [][]byte{all[0], all[1], all[2], all[3], all[3]}},
		{"the last first", [][]byte{all[3]}},
		{"the last cut", [][]byte{all[0], all[1], all[2], all[3][:len(all[3])-1]}},
		{"a byte more", [][]byte{all[0], all[1], all[2], all[3], {0}}},
		{"empty", [][]byte{seal(t, key, "acme", nil)}},
	} {
		_, err := open(key, "acme", slices.Concat(wrong.frames...))
		require.ErrorIs(t, err, frames.Err, wrong.what)
	}
	_, err := open(key, "emca", whole)
	require.ErrorIs(t, err, frames.Err, "of another header")
	_, err = open(newKey(t), "acme", whole)
	require.ErrorIs(t, err, frames.Err, "of another key")
}

// TestWipe: what was wiped neither reads nor writes, so that no zeros are taken for what was there.
func TestWipe(t *testing.T) {
	key := newKey(t)
	var b bytes.Buffer
	w := frames.NewWriter(&b, key, [32]byte{})
	_, err := w.Write([]byte("secret"))
	require.NoError(t, err)
	w.Wipe()
	_, err = w.Write([]byte("more"))
	require.ErrorIs(t, err, frames.ErrWiped)
	require.ErrorIs(t, w.Close(), frames.ErrWiped)
	require.Zero(t, b.Len())

	r := frames.NewReader(bufio.NewReader(bytes.NewReader(seal(t, key, "acme", []byte("secret")))), key, sha256.Sum256([]byte("acme")))
	read := make([]byte, 3)
	_, err = io.ReadFull(r, read)
	require.NoError(t, err)
	require.Equal(t, "sec", string(read))
	r.Wipe()
	n, err := r.Read(read)
	require.ErrorIs(t, err, frames.ErrWiped)
	require.Zero(t, n)
	require.Equal(t, "sec", string(read))
}
