//go:build cgo

package hsm

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
)

// unpadOAEP takes the padding of RSAES-OAEP from what the bare RSA operation gave: with SHA-256,
// MGF1 with SHA-256 and no label (RFC 8017, 7.1.2). size is that of the modulus in bytes.
// Nothing but the result tells what was wrong, the time least of all: whoever can tell whether
// the first byte is zero can decrypt (Manger 2001). The standard library has this, and does not
// give it away without a private key.
func unpadOAEP(padded []byte, size int) ([]byte, bool) {
	const h = sha256.Size
	if len(padded) != size || size < 2*h+2 {
		return nil, false // of another length for every ciphertext, if for one
	}
	seed, db := bytes.Clone(padded[1:1+h]), bytes.Clone(padded[1+h:])
	defer clear(db)
	mask(seed, db)
	mask(db, seed)

	empty := sha256.Sum256(nil)
	good := subtle.ConstantTimeByteEq(padded[0], 0) & subtle.ConstantTimeCompare(db[:h], empty[:])
	// Behind the hash: zeros, a one, the plaintext. Every byte is looked at.
	looking, at := 1, 0
	for i, b := range db[h:] {
		one := subtle.ConstantTimeByteEq(b, 1)
		zero := subtle.ConstantTimeByteEq(b, 0)
		at = subtle.ConstantTimeSelect(looking&one, i, at)
		good = subtle.ConstantTimeSelect(looking&(1-one)&(1-zero), 0, good)
		looking = subtle.ConstantTimeSelect(one, 0, looking)
	}
	if good&(1-looking) != 1 {
		return nil, false
	}
	return bytes.Clone(db[h+at+1:]), true
}

// mask adds MGF1 of the seed to b (RFC 8017, B.2.1).
func mask(b, seed []byte) {
	var counter [4]byte
	for n := uint32(0); len(b) > 0; n++ {
		binary.BigEndian.PutUint32(counter[:], n)
		digest := sha256.New()
		digest.Write(seed)
		digest.Write(counter[:])
		b = b[subtle.XORBytes(b, b, digest.Sum(nil)):]
	}
}
