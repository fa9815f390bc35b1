package xaes

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// expanded is a key made ready: its AES, and K1, the first CMAC subkey of that AES
// (NIST SP 800-38B, 6.1), and the message keys that are worth keeping.
//
// A message key takes 0.8 KB and is kept from its second message on: of many keys most may be
// used once. The AES takes half a kilobyte. It is kept from the second message that is opened, for
// there may be a message key to derive for each; those to be sealed are derived too seldom.
type expanded struct {
	key     [KeySize]byte
	k1      [aes.BlockSize]byte
	aes     atomic.Pointer[cipher.Block]
	sealer  atomic.Pointer[sealer]    // of the next messages
	openers [2]atomic.Pointer[opener] // of the messages that were opened lately
	sealed  atomic.Bool               // a message was
	opened  atomic.Uint64             // the begin of the salt of the last message that was; 0: none was
}

// maxMessages is how many messages of one process share a salt, and so a message key: the
// derivation is most of the cost of a short message. The nonces are random, so two of 2^10
// messages under one message key meet with a chance of 2^-77, and all of 2^55 messages
// under a key stay below 2^-32. What is told by a shared salt is that the messages come
// from one process.
const maxMessages = 1 << 10

// A sealer seals messages under one message key, for any number of goroutines.
type sealer struct {
	messageKey
	left atomic.Int64 // messages
}

// An opener opens the messages of one salt, for any number of goroutines.
type opener struct{ messageKey }

// sealing returns the sealer of one message.
func (e *expanded) sealing() (*sealer, error) {
	if s := e.sealer.Load(); s != nil && s.left.Add(-1) >= 0 {
		return s, nil
	}
	s := &sealer{}
	// Read never fails: where there is no randomness, it ends the program.
	_, _ = rand.Read(s.salt[:])
	if err := e.derive(&s.messageKey, false); err != nil {
		return nil, err
	}
	if e.sealed.Swap(true) {
		s.left.Store(maxMessages - 1)
		e.sealer.Store(s)
	}
	return s, nil
}

// opener returns the opener of a salt, and whether it was kept from before.
func (e *expanded) opener(salt [SaltSize]byte) (o *opener, kept bool, err error) {
	for i := range e.openers {
		if o := e.openers[i].Load(); o != nil && o.salt == salt {
			return o, true, nil
		}
	}
	o = &opener{messageKey{salt: salt}}
	return o, false, e.derive(&o.messageKey, e.opened.Load() != 0)
}

// keep keeps an opener that opened something, if it was not the first, in the place of an older
// one. What opens nothing is not kept: others choose its salt.
func (e *expanded) keep(o *opener) {
	if begin := binary.NativeEndian.Uint64(o.salt[:]) | 1; e.opened.Swap(begin) != begin {
		return
	}
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
