package software

import (
	"bytes"
	"crypto/fips140"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/crypto/argon2"

	"github.com/keyhold/kms/internal/unfilled"
	"github.com/keyhold/kms/internal/xaes"
	"github.com/keyhold/kms/provider"
)

// ErrPassphrase is NewRootFromPassphrase's answer to a passphrase of less than
// MinPassphraseSize bytes, or whose bytes are all the same, as those of a buffer that nobody
// filled are.
var ErrPassphrase = errors.New("software: a passphrase has at least 12 bytes, which are not all the same")

// MinPassphraseSize is the least length of a passphrase, in bytes.
const MinPassphraseSize = 12

// Argon2id as RFC 9106, section 4, recommends second: for where memory is scarce. They
// are part of format 2; others would be another format.
const (
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 4
	argonSalt    = 16 // bytes
)

// derivedKeysKept is how many derived keys of other processes a root remembers.
const derivedKeysKept = 8

// NewRootFromPassphrase returns the root of a passphrase, which it copies: at least
// MinPassphraseSize bytes, not all the same, or it is ErrPassphrase. The key is derived by Argon2id, with a
// random salt that stands in everything sealed.
//
// One derivation takes 64 MiB and some 100 ms. A root derives once for all that it seals,
// and once for what each other process sealed; never two at a time.
//
// Argon2id is not approved by FIPS 140: with GODEBUG=fips140=only, the answer is
// provider.ErrUnsupported.
func NewRootFromPassphrase(passphrase []byte) (*Root, error) {
	if fips140.Enforced() {
		return nil, fmt.Errorf("software: Argon2id is not approved by FIPS 140: %w", provider.ErrUnsupported)
	}
	if len(passphrase) < MinPassphraseSize || unfilled.Buffer(passphrase) {
		return nil, ErrPassphrase
	}
	secret := bytes.Clone(passphrase)
	return newRoot(newPassphraseRoot(func(salt []byte) []byte {
		return argon2.IDKey(secret, salt, argonTime, argonMemory, argonThreads, xaes.KeySize)
	})), nil
}

// passphraseRoot is the sealer that derives its keys.
type passphraseRoot struct {
	derive func(salt []byte) []byte
	own    [argonSalt]byte // the salt of all that this root seals

	deriving sync.Mutex // held for the length of a derivation

	mu    sync.Mutex
	known map[[argonSalt]byte]*xaes.Key
	order [][argonSalt]byte // of known, without own: the first is forgotten first
}

func newPassphraseRoot(derive func(salt []byte) []byte) *passphraseRoot {
	r := &passphraseRoot{derive: derive, known: map[[argonSalt]byte]*xaes.Key{}}
	_, _ = rand.Read(r.own[:]) // never fails: without randomness it ends the program
	return r
}

func (r *passphraseRoot) seal(plaintext, associatedData []byte) ([]byte, error) {
	k, err := r.key(r.own)
	if err != nil {
		return nil, err
	}
	r.remember(r.own, k)
	header := append([]byte{rootFormatPassphrase}, r.own[:]...)
	return sealCommitted(k, header, plaintext, associatedData)
}

func (r *passphraseRoot) open(sealed, associatedData []byte) ([]byte, bool) {
	const header = 1 + argonSalt
	if len(sealed) < header+sealedOverhead || sealed[0] != rootFormatPassphrase {
		return nil, false
	}
	salt := [argonSalt]byte(sealed[1:header])
	k, err := r.key(salt)
	if err != nil {
		return nil, false
	}
	plaintext, ok := openCommitted(k, nil, sealed[header:], associatedData)
	if ok {
		// Only a key that opened something is kept, so that what others make up does not
		// drive out the keys in use.
		r.remember(salt, k)
	}
	return plaintext, ok
}

// key returns the key of that salt. It derives those that it does not know, one at a time.
func (r *passphraseRoot) key(salt [argonSalt]byte) (*xaes.Key, error) {
	if k := r.lookup(salt); k != nil {
		return k, nil
	}
	r.deriving.Lock()
	defer r.deriving.Unlock()
	if k := r.lookup(salt); k != nil {
		return k, nil
	}
	raw := r.derive(salt[:])
	defer clear(raw)
	return xaes.New(raw)
}

func (r *passphraseRoot) lookup(salt [argonSalt]byte) *xaes.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[salt]
}

func (r *passphraseRoot) remember(salt [argonSalt]byte, k *xaes.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[salt] != nil {
		return
	}
	r.known[salt] = k
	if salt == r.own {
		return
	}
	if r.order = append(r.order, salt); len(r.order) > derivedKeysKept {
		delete(r.known, r.order[0])
		r.order = r.order[1:]
	}
}
