package kms_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

// rawGCM is no KMS at all: one key, AES-256-GCM made ready, a random nonce for each message.
type rawGCM struct {
	gcm    cipher.AEAD
	sealed map[int][]byte
}

func newRawGCM(t testing.TB) *rawGCM {
	r := &rawGCM{gcm: randomGCM(t), sealed: map[int][]byte{}}
	for _, size := range benchSizes {
		r.sealed[size] = r.gcm.Seal(nil, nil, plaintexts[:size], nil)
	}
	return r
}

func randomGCM(t testing.TB) cipher.AEAD {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(t, err)
	return gcm
}

var sink []byte

func (r *rawGCM) dataKey(int) {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	keep(r.gcm.Seal(nil, nil, key, nil))
}

func (r *rawGCM) seal(_, size int) { keep(r.gcm.Seal(nil, nil, plaintexts[:size], nil)) }

func (r *rawGCM) open(_, size int) {
	plain, err := r.gcm.Open(nil, nil, r.sealed[size], nil)
	if err != nil {
		panic(err)
	}
	keep(plain)
}

// keep stands for a caller that does something with the result.
//
//go:noinline
func keep(b []byte) {
	if len(b) > 1<<20 {
		sink = b
	}
}

// leastKMS is the least that can be called one: keys by their ID, each with a state and its
// AES-256-GCM made ready; a ciphertext names its key in a header that is authenticated. It
// has one key version, no other process, no commitment, no record, no error that helps.
type leastKMS struct {
	keys   map[string]*leastKey
	byID   map[[16]byte]*leastKey
	ids    []string
	sealed map[int][][]byte
}

type leastKey struct {
	id       [16]byte
	disabled bool
	gcm      cipher.AEAD
}

const leastHeader = 1 + 16 + 4

func newLeastKMS(t testing.TB, keys int) *leastKMS {
	k := &leastKMS{keys: map[string]*leastKey{}, byID: map[[16]byte]*leastKey{}, sealed: map[int][][]byte{}}
	for i := range keys {
		key := &leastKey{gcm: randomGCM(t)}
		_, _ = rand.Read(key.id[:])
		id := hex.EncodeToString(key.id[:])
		k.keys[id], k.byID[key.id], k.ids = key, key, append(k.ids, id)
		for _, size := range benchSizes {
			k.sealed[size] = append(k.sealed[size], k.encrypt(k.ids[i], plaintexts[:size]))
		}
	}
	return k
}

func (k *leastKMS) encrypt(id string, plaintext []byte) []byte {
	key := k.keys[id]
	if key == nil || key.disabled {
		panic("no such key")
	}
	out := make([]byte, leastHeader, leastHeader+12+len(plaintext)+16)
	out[0] = 1
	copy(out[1:], key.id[:])
	binary.BigEndian.PutUint32(out[17:], 1)
	return key.gcm.Seal(out, nil, plaintext, out[:leastHeader])
}

func (k *leastKMS) dataKey(i int) {
	plain := make([]byte, 32)
	_, _ = rand.Read(plain)
	keep(k.encrypt(k.ids[i], plain))
	keep(plain)
}

func (k *leastKMS) seal(i, size int) { keep(k.encrypt(k.ids[i], plaintexts[:size])) }

func (k *leastKMS) open(i, size int) {
	c := k.sealed[size][i]
	key := k.byID[[16]byte(c[1:17])]
	if c[0] != 1 || key == nil || key.disabled || binary.BigEndian.Uint32(c[17:]) != 1 {
		panic("no such key")
	}
	plain, err := key.gcm.Open(nil, nil, c[leastHeader:], c[:leastHeader])
	if err != nil {
		panic(err)
	}
	keep(plain)
}
