package xaes

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"sync/atomic"
)

// expanded is a key made ready: its AES, and K1, the first CMAC subkey of that AES
// (NIST SP 800-38B, 6.1), and the message keys that are worth keeping.
//
// The AES is half a kilobyte. It is kept from the first message on whose key is derived to be
// opened, for there may be one for each; those to be sealed are derived too seldom.
type expanded struct {
	key     [KeySize]byte
	k1      [aes.BlockSize]byte
	aes     atomic.Pointer[cipher.Block]
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
	messageKey
	left int
}

// An opener opens the messages of one salt, for any number of goroutines.
type opener struct{ messageKey }

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
	err := e.derive(&s.messageKey, false)
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
func (e *expanded) opener(salt [SaltSize]byte) (o *opener, kept bool, err error) {
	for i := range e.openers {
		if o := e.openers[i].Load(); o != nil && o.salt == salt {
			return o, true, nil
		}
	}
	o = &opener{messageKey{salt: salt}}
	return o, false, e.derive(&o.messageKey, true)
}

// keep keeps an opener that opened something, in the place of an older one. What opens
// nothing is not kept: others choose its salt.
func (e *expanded) keep(o *opener) {
	e.openers[o.salt[0]%byte(len(e.openers))].Store(o)
}

func expand(key []byte) (*expanded, error) {
	e := &expanded{key: [KeySize]byte(key)}
	block, err := e.block(false)
	if err != nil {
		return nil, err
	}
	block.Encrypt(e.k1[:], e.k1[:])
	doubled(&e.k1)
	return e, nil
}

// block is the AES of the key, which is kept if it is to be.
func (e *expanded) block(kept bool) (cipher.Block, error) {
	if known := e.aes.Load(); known != nil {
		return *known, nil
	}
	block, err := aes.NewCipher(e.key[:])
	if err != nil {
		return nil, fmt.Errorf("xaes: AES: %w", err)
	}
	if kept {
		e.aes.Store(&block)
	}
	return block, nil
}

// doubled multiplies b by x in GF(2^128), without a branch that depends on b.
func doubled(b *[aes.BlockSize]byte) {
	var carry byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i], carry = b[i]<<1|carry, b[i]>>7
	}
	b[len(b)-1] ^= 0b10000111 & -carry
}
