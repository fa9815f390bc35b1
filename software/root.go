package software

import (
	"errors"

	"github.com/keyhold/kms/internal/unfilled"
	"github.com/keyhold/kms/internal/xaes"
)

var (
	// ErrRootKey is the answer to a root key that is not 32 bytes, or whose bytes are all
	// the same, as those of a buffer that nobody filled are.
	ErrRootKey = errors.New("software: a root key is 32 random bytes")

	// ErrNoRoot is the answer of a Root that no function of this package made.
	ErrNoRoot = errors.New("software: the root has no key, make it with NewRoot, NewRootFromPassphrase, OpenRootFile or CreateRootFile")

	// ErrRootCiphertext is Root.Decrypt's one answer to whatever this root did not seal
	// under this associated data.
	ErrRootCiphertext = errors.New("software: not sealed by this root under this associated data")
)

// The first byte of what a Root seals: how the key is found.
//
//	1 || XAES-256-GCM of 32 zero bytes and the plaintext              a root with a key
//	2 || salt (16) || XAES-256-GCM of 32 zero bytes and the plaintext  from a passphrase
const (
	rootFormatKey        = 1
	rootFormatPassphrase = 2
)

// Root is the key outside the key store that seals what is in it. It has the methods of
// Tink's tink.AEAD, and so has every KMS integration of Tink, which a program may use
// instead. It is made by NewRoot, NewRootFromPassphrase, OpenRootFile or CreateRootFile. The
// zero Root and the nil pointer have no key: what they are asked to do is ErrNoRoot. Many
// goroutines may use a Root at once.
//
// No printer reaches the secret of a Root.
type Root struct {
	sealer func() sealer
}

// sealer is one way to find the key of a root.
type sealer interface {
	seal(plaintext, associatedData []byte) ([]byte, error)
	open(sealed, associatedData []byte) ([]byte, bool)
}

// NewRoot returns the root of a key of 32 random bytes, which it copies. Another length,
// or 32 times the same byte, is ErrRootKey.
func NewRoot(key []byte) (*Root, error) {
	if len(key) != xaes.KeySize || unfilled.Buffer(key) {
		return nil, ErrRootKey
	}
	k, err := xaes.New(key)
	if err != nil {
		return nil, err
	}
	return newRoot(keyRoot{k}), nil
}

func newRoot(s sealer) *Root {
	return &Root{sealer: func() sealer { return s }}
}

// made returns the sealer of a root that a function of this package made.
func (r *Root) made() (sealer, error) {
	if r == nil || r.sealer == nil {
		return nil, ErrNoRoot
	}
	return r.sealer(), nil
}

// Encrypt seals plaintext under the associated data. The result is at most 89 bytes
// longer than plaintext. Of a Root without a key it is ErrNoRoot.
func (r *Root) Encrypt(plaintext, associatedData []byte) ([]byte, error) {
	s, err := r.made()
	if err != nil {
		return nil, err
	}
	return s.seal(plaintext, associatedData)
}

// Decrypt returns the plaintext of what Encrypt of the same root made, or nil and
// ErrRootCiphertext; of a Root without a key nil and ErrNoRoot.
func (r *Root) Decrypt(ciphertext, associatedData []byte) ([]byte, error) {
	s, err := r.made()
	if err != nil {
		return nil, err
	}
	plaintext, ok := s.open(ciphertext, associatedData)
	if !ok {
		return nil, ErrRootCiphertext
	}
	return plaintext, nil
}

// keyRoot is the sealer that has its key.
type keyRoot struct {
	key *xaes.Key
}

func (r keyRoot) seal(plaintext, associatedData []byte) ([]byte, error) {
	return sealCommitted(r.key, []byte{rootFormatKey}, plaintext, associatedData)
}

func (r keyRoot) open(sealed, associatedData []byte) ([]byte, bool) {
	if len(sealed) < 1 || sealed[0] != rootFormatKey {
		return nil, false
	}
	return openCommitted(r.key, nil, sealed[1:], associatedData)
}
