//go:build cgo

package hsm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/provider"
)

// What a Root seals:
//
//	format (1 byte, 1) || CKA_ID of its key (16) || a ciphertext of that key
const (
	rootFormat      = 1
	rootHeader      = 1 + 16
	rootLabelPrefix = "keyhold-root:"
)

// rootTimeout is how long a call of a Root waits for the token: it has no context.
const rootTimeout = 30 * time.Second

// Root is a key of AES_256 in a token, as the root of a key store: it is a kms.Root, and a
// tink.AEAD. It is made by Token.Root or Token.CreateRoot; what any other is asked to do is
// provider.ErrUnsupported. Many goroutines may use it at once. Its calls give up after 30 seconds.
type Root struct {
	key *aesKey
}

// Root returns the root of that name, 1 to 100 bytes. It makes none: where the token has no such key,
// and is surely there, it is provider.ErrNoKey. A name of another length is provider.ErrUnsupported.
//
// Who destroys the key can open nothing of the key store any more; a backup of a token is that
// token's own affair.
func (t *Token) Root(ctx context.Context, name string) (*Root, error) {
	if len(name) < 1 || len(name) > maxRootName {
		return nil, errRootName
	}
	id, err := do(ctx, t, using, func(s *session) (objectID, error) { return s.findRoot(name) })
	if err != nil {
		return nil, err
	}
	return t.root(id), nil
}

// CreateRoot makes the key of a root of that name, 1 to 100 bytes, and returns the root. Where the
// token has one already it is fs.ErrExist. Of processes that do so at the same time, at most one makes
// the root.
func (t *Token) CreateRoot(ctx context.Context, name string) (*Root, error) {
	if len(name) < 1 || len(name) > maxRootName {
		return nil, errRootName
	}
	k, _ := kindOf(provider.AES256, provider.UseEncrypt)
	if err := t.ready(ctx, k, false); err != nil {
		return nil, err
	}
	for range 10 {
		_, err := do(ctx, t, using, func(s *session) (objectID, error) { return s.findRoot(name) })
		if err == nil {
			return nil, fmt.Errorf("hsm: the token has a root of that name, which Token.Root opens: %w", fs.ErrExist)
		}
		if !errors.Is(err, provider.ErrNoKey) {
			return nil, err
		}
		made := newObjectID()
		alone, err := do(ctx, t, creating, func(s *session) (bool, error) { return s.makeRoot(t, k, made, name) })
		if err != nil {
			return nil, err
		}
		if alone {
			return t.root(made), nil
		}
	}
	return nil, unavailable("others keep making the same root")
}

const maxRootName = 100

var (
	errRootName = fmt.Errorf("hsm: the name of a root has 1 to 100 bytes: %w", provider.ErrUnsupported)
	errNoRoot   = fmt.Errorf("hsm: the Root was not made by Token.Root or Token.CreateRoot: %w", provider.ErrUnsupported)
)

func (t *Token) root(id objectID) *Root {
	r := reference{object: id, spec: provider.AES256, use: provider.UseEncrypt}
	return &Root{key: openAES(t, r).(*aesKey)}
}

// findRoot returns the CKA_ID of the one key of that name.
func (s *session) findRoot(name string) (id objectID, err error) {
	found, err := s.rootsOf(name)
	if err != nil {
		return id, err
	}
	switch len(found) {
	case 0:
		if err := s.see(s.g.witness); err != nil {
			return id, err
		}
		return id, fmt.Errorf("%w: no root of that name, which Token.CreateRoot makes", provider.ErrNoKey)
	case 1:
		b, err := s.attribute(found[0], pkcs11.CKA_ID)
		if err == nil && len(b) != len(id) {
			err = fmt.Errorf("%w: the root's CKA_ID is not one of ours", ErrKeyPolicy)
		}
		copy(id[:], b)
		return id, err
	}
	return id, fmt.Errorf("%w: two keys of the root's name", ErrKeyPolicy)
}

func (s *session) rootsOf(name string) ([]pkcs11.ObjectHandle, error) {
	return s.search(2, pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, rootLabelPrefix+name))
}

// makeRoot makes the key of a root and tells whether it is the only one of its name. If it is
// not, it is destroyed before anything was sealed with it: so a key that seals is never one
// too many.
func (s *session) makeRoot(t *Token, k kind, id objectID, name string) (alone bool, err error) {
	r := reference{object: id}
	defer func() {
		if !alone {
			s.undo(r)
		}
	}()
	o := object{label: rootLabelPrefix + name, id: id, uses: k.uses}
	h, err := s.generateSecret(k.maker, pkcs11.CKK_AES, k.size, o)
	if err != nil {
		return false, err
	}
	if err := s.inspect(h, o, notForSecret, pkcs11.CKA_VALUE, true); err != nil {
		return false, err
	}
	if err := t.root(id).key.try(s); err != nil {
		return false, err
	}
	found, err := s.rootsOf(name)
	return err == nil && len(found) == 1, err
}

// Encrypt seals plaintext, up to 8 KiB, under the associated data. The result is 77 bytes longer.
func (r *Root) Encrypt(plaintext, associatedData []byte) ([]byte, error) {
	if r == nil || r.key == nil {
		return nil, errNoRoot
	}
	ctx, cancel := context.WithTimeout(context.Background(), rootTimeout)
	defer cancel()
	return r.key.Encrypt(ctx, append([]byte{rootFormat}, r.key.r.object[:]...), plaintext, associatedData)
}

// Decrypt returns the plaintext of what Encrypt of the same root made. All else is
// provider.ErrCiphertext.
func (r *Root) Decrypt(ciphertext, associatedData []byte) ([]byte, error) {
	if r == nil || r.key == nil {
		return nil, errNoRoot
	}
	if len(ciphertext) < rootHeader || ciphertext[0] != rootFormat || objectID(ciphertext[1:rootHeader]) != r.key.r.object {
		return nil, provider.ErrCiphertext
	}
	ctx, cancel := context.WithTimeout(context.Background(), rootTimeout)
	defer cancel()
	return r.key.Decrypt(ctx, nil, ciphertext[rootHeader:], associatedData)
}
