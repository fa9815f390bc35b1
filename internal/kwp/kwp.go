// Package kwp is AES key wrap with padding (RFC 5649, NIST SP 800-38F KWP): how a key is
// encrypted under another without a nonce. It is for material on its way into a key.
package kwp

import (
	"crypto/aes"
	"encoding/binary"
	"errors"
)

// MaxSize is the longest plaintext, in bytes.
const MaxSize = 8 << 10

// ErrUnwrap is Unwrap's one answer to what Wrap did not make under that key.
var ErrUnwrap = errors.New("kwp: not wrapped under this key")

// ErrSize is the answer to a key that is not 16, 24 or 32 bytes long, and to a plaintext
// that is empty or longer than MaxSize.
var ErrSize = errors.New("kwp: a key or plaintext of a wrong size")

const (
	prefix = 0xA65959A6 // RFC 5649, section 3
	half   = aes.BlockSize / 2
)

// Wrap encrypts plaintext under kek. The result is as long as the plaintext, rounded up to
// 8 bytes, and 8 more.
func Wrap(kek, plaintext []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil || len(plaintext) == 0 || len(plaintext) > MaxSize {
		return nil, ErrSize
	}
	padded := (len(plaintext) + half - 1) / half * half
	b := make([]byte, half+padded)
	binary.BigEndian.PutUint32(b, prefix)
	binary.BigEndian.PutUint32(b[4:], uint32(len(plaintext)))
	copy(b[half:], plaintext)
	if padded == half {
		block.Encrypt(b, b)
		return b, nil
	}
	var w [aes.BlockSize]byte // A and one R of the RFC
	defer clear(w[:])
	copy(w[:half], b)
	for t, n := uint64(1), padded/half; t <= uint64(6*n); t++ {
		r := b[half+int((t-1)%uint64(n))*half:][:half]
		copy(w[half:], r)
		block.Encrypt(w[:], w[:])
		copy(r, w[half:])
		xor(w[:half], t)
	}
	copy(b, w[:half])
	return b, nil
}

// Unwrap decrypts what Wrap made, or says ErrUnwrap. It allocates no more than a copy of
// what was wrapped, and nothing for what is too long.
func Unwrap(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, ErrSize
	}
	if len(wrapped)%half != 0 || len(wrapped) < aes.BlockSize || len(wrapped) > half+MaxSize {
		return nil, ErrUnwrap
	}
	b := make([]byte, len(wrapped))
	copy(b, wrapped)
	padded := len(b) - half
	if padded == half {
		block.Decrypt(b, b)
	} else {
		var w [aes.BlockSize]byte
		defer clear(w[:])
		copy(w[:half], b)
		for n, t := padded/half, uint64(6*padded/half); t >= 1; t-- {
			r := b[half+int((t-1)%uint64(n))*half:][:half]
			xor(w[:half], t)
			copy(w[half:], r)
			block.Decrypt(w[:], w[:])
			copy(r, w[half:])
		}
		copy(b, w[:half])
	}
	if !intact(b, padded) {
		clear(b)
		return nil, ErrUnwrap
	}
	return b[half:][:binary.BigEndian.Uint32(b[4:])], nil
}

// intact checks the prefix, the length and the padding. No branch tells which was wrong.
func intact(b []byte, padded int) bool {
	bad := uint64(binary.BigEndian.Uint32(b) ^ prefix)
	pad := uint64(padded) - uint64(binary.BigEndian.Uint32(b[4:]))
	bad |= pad / half // 0 to 7 bytes of padding; else it is wrapped around or too much
	for i := range uint64(half) {
		within := -((i - pad) >> 63) // all ones for the last pad bytes, else 0
		bad |= uint64(b[len(b)-1-int(i)]) & within
	}
	return bad == 0
}

func xor(b []byte, t uint64) { binary.BigEndian.PutUint64(b, binary.BigEndian.Uint64(b)^t) }
