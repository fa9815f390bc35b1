//go:build cgo

package hsm

import (
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/provider"
)

// A place is where an object is found: its class and its CKA_ID.
type place struct {
	class uint
	id    objectID
}

// search returns the handles of up to most objects with those attributes.
func (s *session) search(most int, template ...*pkcs11.Attribute) ([]pkcs11.ObjectHandle, error) {
	if err := s.g.p.FindObjectsInit(s.h, template); err != nil {
		return nil, s.fail("C_FindObjectsInit", err)
	}
	var found []pkcs11.ObjectHandle
	for len(found) < most {
		some, _, err := s.g.p.FindObjects(s.h, min(most-len(found), 256))
		if err != nil {
			return nil, s.fail("C_FindObjects", err)
		}
		if len(some) == 0 {
			break
		}
		found = append(found, some...)
	}
	return found, s.fail("C_FindObjectsFinal", s.g.p.FindObjectsFinal(s.h))
}

func (s *session) at(p place) ([]pkcs11.ObjectHandle, error) {
	return s.search(2, pkcs11.NewAttribute(pkcs11.CKA_CLASS, p.class), pkcs11.NewAttribute(pkcs11.CKA_ID, p.id[:]))
}

// handle finds an object of a reference. It searches the token once in a generation at most:
// that takes long where there are many objects. No object is provider.ErrNoKey only if the
// witness of the reference is seen: then this is its token, and the object was in it.
func (s *session) handle(class uint, r reference) (pkcs11.ObjectHandle, error) {
	p := place{class, r.object}
	if h, ok := s.g.handles.Load(p); ok {
		return h.(pkcs11.ObjectHandle), nil
	}
	if s.g.misses.Add(1) == manyMisses {
		if err := s.list(class); err != nil {
			return 0, err
		}
	}
	found, err := s.at(p)
	switch {
	case err != nil:
		return 0, err
	case len(found) == 0:
		witness := r.witness
		if witness == (objectID{}) { // of a root, which was found in this token
			witness = s.g.witness
		}
		if err := s.see(witness); err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("%w: there is no such object any more in the token that it was made in", provider.ErrNoKey)
	case len(found) > 1:
		return 0, fmt.Errorf("%w: two objects have the CKA_ID of the key", ErrKeyPolicy)
	}
	s.g.handles.Store(p, found[0])
	return found[0], nil
}

// forget drops the handle of an object that is to go. Opened keys look again.
func (g *generation) forget(p place) {
	g.handles.Delete(p)
	g.gones.Add(1)
}

// manyMisses is how many keys are searched for before all objects are listed at once.
const manyMisses = 4

// list finds all objects of a class. Of a CKA_ID that two have it keeps none.
func (s *session) list(class uint) error {
	found, err := s.search(1<<20, pkcs11.NewAttribute(pkcs11.CKA_CLASS, class))
	if err != nil {
		return err
	}
	once := make(map[objectID]pkcs11.ObjectHandle, len(found))
	twice := map[objectID]bool{}
	for _, h := range found {
		id, err := s.attribute(h, pkcs11.CKA_ID)
		if err != nil {
			return err
		}
		if len(id) != len(objectID{}) {
			continue // not one of ours
		}
		if _, taken := once[objectID(id)]; taken {
			twice[objectID(id)] = true
		}
		once[objectID(id)] = h
	}
	for id, h := range once {
		if !twice[id] {
			s.g.handles.Store(place{class, id}, h)
		}
	}
	return nil
}

// attribute reads one attribute: where one of several cannot be read, modules and the binding
// drop the others.
func (s *session) attribute(h pkcs11.ObjectHandle, kind uint) ([]byte, error) {
	read, err := s.g.p.GetAttributeValue(s.h, h, []*pkcs11.Attribute{pkcs11.NewAttribute(kind, nil)})
	if err != nil {
		return nil, s.fail(opAttributes, err)
	}
	if len(read) != 1 {
		return nil, unavailable("C_GetAttributeValue returned nothing")
	}
	return read[0].Value, nil
}
