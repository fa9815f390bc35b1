package xaes

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/rand"
	"sync"
)

// approved tells whether the program runs in FIPS 140 mode, where the module that encrypts
// has to choose the nonces itself. Elsewhere this package reads them, which saves a copy of
// the plaintext. It does not change while a program runs.
var approved = fips140.Enabled()

// A messageKey is the AES-GCM of the messages of one salt.
type messageKey struct {
	salt [SaltSize]byte
	gcm  cipher.AEAD // if approved, with random nonces
}

// seal appends a random nonce and the ciphertext of plaintext to out, which has room for
// both.
func (k *messageKey) seal(out, plaintext, associatedData []byte) []byte {
	n := len(out)
	room := out[n : n+ivSize+len(plaintext)+tagSize]
	if approved {
		if len(plaintext) > 0 && &plaintext[0] == &room[ivSize] { // it may not lie there
			plaintext = room[:copy(room, plaintext)]
		}
		return k.gcm.Seal(out, nil, plaintext, associatedData)
	}
	iv := room[:ivSize]
	_, _ = rand.Read(iv) // which never fails
	return k.gcm.Seal(out[:n+ivSize], iv, plaintext, associatedData)
}

// open appends the plaintext of what seal appended to dst.
func (k *messageKey) open(dst, sealed, associatedData []byte) ([]byte, error) {
	if approved {
		return k.gcm.Open(dst, nil, sealed, associatedData)
	}
	return k.gcm.Open(dst, sealed[:ivSize], sealed[ivSize:], associatedData)
}

// scratch has room for message keys, all zero.
var scratch = sync.Pool{New: func() any { return new([KeySize]byte) }}

// derive makes the AES-GCM of the salt that is in k, and keeps the AES that it takes if it is to.
func (e *expanded) derive(k *messageKey, kept bool) error {
	block, err := e.block(kept)
	if err != nil {
		return err
	}
	key := scratch.Get().(*[KeySize]byte)
	e.messageKey(key, block, k.salt[:])
	own, err := aes.NewCipher(key[:])
	clear(key[:])
	scratch.Put(key)
	if err != nil {
		return err
	}
	if approved {
		k.gcm, err = cipher.NewGCMWithRandomNonce(own)
	} else {
		k.gcm, err = cipher.NewGCM(own)
	}
	return err
}

// messageKey derives the key of the message with that salt: CMAC-AES of two blocks of
// input, which is one AES call for each half.
func (e *expanded) messageKey(key *[KeySize]byte, block cipher.Block, salt []byte) {
	for i := range 2 {
		half := key[i*aes.BlockSize:][:aes.BlockSize]
		copy(half, []byte{0, byte(1 + i), 'X', 0})
		copy(half[4:], salt)
		for j := range half {
			half[j] ^= e.k1[j]
		}
		block.Encrypt(half, half)
	}
}
