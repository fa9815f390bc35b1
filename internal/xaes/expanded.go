package xaes

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
)

// expanded is a key made ready: its AES, and K1, the first CMAC subkey of that AES
// (NIST SP 800-38B, 6.1), and the message keys that are worth keeping.
type expanded struct {
	block   cipher.Block
	k1      [aes.BlockSize]byte
	sealers [4]atomic.Pointer[sealer] // with messages left, for one goroutine each
	openers [2]atomic.Pointer[opener] // of the messages that were opened lately
}

// maxMessages is how many messages of one process share a salt, and so a message key: the
// derivation is most of the cost of a short message. The nonces are random, so two of 2^10
// messages under one message key meet with a chance of 2^-77, and all of 2^55 messages
// under a key stay below 2^-32. What is told by a shared salt is that the messages come
// from one process.
const maxMessages = 1 << 10

// A sealer seals messages under one message key, for one goroutine at a time.
type sealer struct {
	salt [SaltSize]byte
	gcm  cipher.AEAD
	left int
}

// An opener opens the messages of one salt, for any number of goroutines.
type opener struct {
	salt [SaltSize]byte
	gcm  cipher.AEAD
}

// take returns a sealer that nobody else has.
func (e *expanded) take() (*sealer, error) {
	for i := range e.sealers {
		if e.sealers[i].Load() != nil {
			if s := e.sealers[i].Swap(nil); s != nil {
				return s, nil
			}
		}
	}
	s := &sealer{left: maxMessages}
	// Read never fails: where there is no randomness, it ends the program.
	_, _ = rand.Read(s.salt[:])
	var err error
	s.gcm, err = e.messageAEAD(s.salt[:])
	return s, err
}

// give returns a sealer after a message.
func (e *expanded) give(s *sealer) {
	if s.left--; s.left == 0 {
		return
	}
	for i := range e.sealers {
		if e.sealers[i].Load() == nil && e.sealers[i].CompareAndSwap(nil, s) {
			return
		}
	}
}

// opener returns the opener of a salt, and whether it was kept from before.
func (e *expanded) opener(salt []byte) (o *opener, kept bool, err error) {
	for i := range e.openers {
		if o := e.openers[i].Load(); o != nil && string(o.salt[:]) == string(salt) {
			return o, true, nil
		}
	}
	o = &opener{salt: [SaltSize]byte(salt)}
	o.gcm, err = e.messageAEAD(salt)
	return o, false, err
}

// keep keeps an opener that opened something, in the place of an older one. What opens
// nothing is not kept: others choose its salt.
func (e *expanded) keep(o *opener) {
	e.openers[o.salt[0]%byte(len(e.openers))].Store(o)
}

func expand(key []byte) (*expanded, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("xaes: AES: %w", err)
	}
	e := &expanded{block: block}
	block.Encrypt(e.k1[:], e.k1[:])
	doubled(&e.k1)
	return e, nil
}

// doubled multiplies b by x in GF(2^128), without a branch that depends on b.
func doubled(b *[aes.BlockSize]byte) {
	var carry byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i], carry = b[i]<<1|carry, b[i]>>7
	}
	b[len(b)-1] ^= 0b10000111 & -carry
}

// scratch has room for message keys, all zero.
var scratch = sync.Pool{New: func() any { return new([KeySize]byte) }}

// messageAEAD is the AES-GCM, with random nonces, of the message with that salt.
func (e *expanded) messageAEAD(salt []byte) (cipher.AEAD, error) {
	key := scratch.Get().(*[KeySize]byte)
	e.messageKey(key, salt)
	block, err := aes.NewCipher(key[:])
	clear(key[:])
	scratch.Put(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// messageKey derives the key of the message with that salt: CMAC-AES of two blocks of
// input, which is one AES call for each half.
func (e *expanded) messageKey(key *[KeySize]byte, salt []byte) {
	for i := range 2 {
		half := key[i*aes.BlockSize:][:aes.BlockSize]
		copy(half, []byte{0, byte(1 + i), 'X', 0})
		copy(half[4:], salt)
		for j := range half {
			half[j] ^= e.k1[j]
		}
		e.block.Encrypt(half, half)
	}
}
