//go:build cgo

package hsm

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/provider"
)

// A token that lost its login, or its objects for a while, finds nothing and calls it a
// success. So there is a witness: a key that is always there. Only while it is found is
// anything else believed to be absent. A reference names the witness of its token by a random
// CKA_ID, so that no other token is taken for it, and a copy of the token is.
const witnessLabel = "keyhold-witness"

// see returns nil if the witness is found. If it is not, and the witness of this token is, the
// witness is that of another token: provider.ErrElsewhere.
func (s *session) see(witness objectID) error {
	found, err := s.at(place{pkcs11.CKO_SECRET_KEY, witness})
	if err != nil || len(found) > 0 {
		return err
	}
	if witness != s.g.witness && s.g.witness != (objectID{}) {
		if found, err = s.at(place{pkcs11.CKO_SECRET_KEY, s.g.witness}); err != nil {
			return err
		}
		if len(found) > 0 {
			return fmt.Errorf("%w: the key is in another token than the one that is connected", provider.ErrElsewhere)
		}
	}
	return unavailable("the token does not show its objects")
}

// feel returns nil where the witness is there, by its handle: that takes no search, and does for
// those who will see what they made.
func (s *session) feel() error {
	h, err := s.handle(pkcs11.CKO_SECRET_KEY, reference{object: s.g.witness, witness: s.g.witness})
	if errors.Is(err, provider.ErrNoKey) { // it was seen, and not found
		return unavailable("the token does not show its objects")
	}
	if err != nil {
		return err
	}
	id, err := s.attribute(h, pkcs11.CKA_ID)
	if err == nil && !bytes.Equal(id, s.g.witness[:]) {
		return unavailable("a handle has become another object's")
	}
	return err
}

// findWitness returns the witness of the token, and makes one where there is none. Where
// several processes made one at the same time, it is the first in order.
func (s *session) findWitness() (objectID, error) {
	for {
		found, err := s.search(64, pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
			pkcs11.NewAttribute(pkcs11.CKA_LABEL, witnessLabel))
		if err != nil {
			return objectID{}, err
		}
		var first []byte
		for _, h := range found {
			id, err := s.attribute(h, pkcs11.CKA_ID)
			if err != nil {
				return objectID{}, err
			}
			if len(id) == len(objectID{}) && (first == nil || bytes.Compare(id, first) < 0) {
				first = id
			}
		}
		if first != nil {
			return objectID(first), nil
		}
		made, err := s.makeWitness()
		if err != nil {
			return objectID{}, err
		}
		if err := s.see(made); err != nil {
			return objectID{}, err
		}
	}
}

func (s *session) makeWitness() (objectID, error) {
	id := newObjectID()
	o := object{label: witnessLabel, id: id, uses: []uint{pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT}}
	_, err := s.generateSecret(pkcs11.CKM_AES_KEY_GEN, pkcs11.CKK_AES, 32, o)
	return id, err
}

func newObjectID() (id objectID) {
	_, _ = rand.Read(id[:]) // never fails: without randomness it ends the program
	return id
}
