package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"sync"
)

// A buffer is what a caller brings who wants nothing to be allocated.
type buffer struct {
	key [32]byte
	out [8192]byte
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// floors are the least that could do the same: raw is the cipher alone, without and with a
// buffer of the caller, and least KMS the least that can be called one.
func floors(keys int) []*contestant { return append([]*contestant{leastKMS(keys)}, raw()...) }

// newGCM is AES-256-GCM made ready, with a random nonce for each message.
func newGCM() cipher.AEAD {
	return must(cipher.NewGCMWithRandomNonce(must(aes.NewCipher(randomBytes(32)))))
}

func raw() []*contestant {
	gcm := newGCM()
	alone := &contestant{
		name: "raw", what: "AES-256-GCM of the standard library alone",
		dataKey: func(int) {
			key := make([]byte, 32)
			_, _ = rand.Read(key)
			keep(gcm.Seal(nil, nil, key, nil))
		},
		encrypt: func(_ int, plaintext []byte) { keep(gcm.Seal(nil, nil, plaintext, nil)) },
		opener: func(_ int, plaintext []byte) func() {
			c := gcm.Seal(nil, nil, plaintext, nil)
			return func() { keep(must(gcm.Open(nil, nil, c, nil))) }
		},
	}
	into := &contestant{
		name: "raw append", what: "the same, with buffers of the caller",
		dataKey: func(int) {
			b := buffers.Get().(*buffer)
			_, _ = rand.Read(b.key[:])
			keep(gcm.Seal(b.out[:0], nil, b.key[:], nil))
			buffers.Put(b)
		},
		encrypt: func(_ int, plaintext []byte) {
			b := buffers.Get().(*buffer)
			keep(gcm.Seal(b.out[:0], nil, plaintext, nil))
			buffers.Put(b)
		},
		opener: func(_ int, plaintext []byte) func() {
			c := gcm.Seal(nil, nil, plaintext, nil)
			return func() {
				b := buffers.Get().(*buffer)
				keep(must(gcm.Open(b.out[:0], nil, c, nil)))
				buffers.Put(b)
			}
		},
	}
	return []*contestant{alone, into}
}

// leastKey is a key of the least KMS.
type leastKey struct {
	id       [16]byte
	disabled bool
	gcm      cipher.AEAD
}

const leastHeader = 1 + 16 + 4

// leastKMS is the least that can be called one: keys by their ID, each with a state and its
// AES-256-GCM made ready; a ciphertext names its key in a header that is authenticated. It
// has one key version, no other process, no commitment, no record, no error that helps.
func leastKMS(keys int) *contestant {
	byName, byID, ids := map[string]*leastKey{}, map[[16]byte]*leastKey{}, make([]string, keys)
	for i := range ids {
		key := &leastKey{id: [16]byte(randomBytes(16)), gcm: newGCM()}
		ids[i] = hex.EncodeToString(key.id[:])
		byName[ids[i]], byID[key.id] = key, key
	}
	encrypt := func(id string, plaintext []byte) []byte {
		key := byName[id]
		if key == nil || key.disabled {
			panic("no such key")
		}
		out := make([]byte, leastHeader, leastHeader+12+len(plaintext)+16)
		out[0] = 1
		copy(out[1:], key.id[:])
		binary.BigEndian.PutUint32(out[17:], 1)
		return key.gcm.Seal(out, nil, plaintext, out[:leastHeader])
	}
	return &contestant{
		name: "least KMS", what: "a map of keys, a state, a header, AES-256-GCM",
		dataKey: func(i int) {
			plain := make([]byte, 32)
			_, _ = rand.Read(plain)
			keep(encrypt(ids[i], plain))
			keep(plain)
		},
		encrypt: func(i int, plaintext []byte) { keep(encrypt(ids[i], plaintext)) },
		opener: func(i int, plaintext []byte) func() {
			c := encrypt(ids[i], plaintext)
			return func() {
				key := byID[[16]byte(c[1:17])]
				if c[0] != 1 || key == nil || key.disabled || binary.BigEndian.Uint32(c[17:]) != 1 {
					panic("no such key")
				}
				keep(must(key.gcm.Open(nil, nil, c[leastHeader:], c[:leastHeader])))
			}
		},
	}
}
