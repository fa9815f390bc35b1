//go:build cgo

package hsm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"
)

// An object is what a key is to be called, and to be for.
type object struct {
	label string
	id    objectID
	uses  []uint // of allUses
}

// allUses are what a key may be for, in the terms of PKCS#11. A key gets what it needs.
var allUses = []uint{pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT, pkcs11.CKA_SIGN, pkcs11.CKA_VERIFY,
	pkcs11.CKA_SIGN_RECOVER, pkcs11.CKA_VERIFY_RECOVER, pkcs11.CKA_WRAP, pkcs11.CKA_UNWRAP, pkcs11.CKA_DERIVE}

// The uses that keys of a class do not know.
var (
	notForSecret  = []uint{pkcs11.CKA_SIGN_RECOVER, pkcs11.CKA_VERIFY_RECOVER}
	notForPrivate = []uint{pkcs11.CKA_ENCRYPT, pkcs11.CKA_VERIFY, pkcs11.CKA_VERIFY_RECOVER, pkcs11.CKA_WRAP}
	notForPublic  = []uint{pkcs11.CKA_DECRYPT, pkcs11.CKA_SIGN, pkcs11.CKA_SIGN_RECOVER, pkcs11.CKA_UNWRAP, pkcs11.CKA_DERIVE}
)

// secret are the attributes of every key that is to stay inside. Those of frozen are asked for
// as well, where the token knows them.
var (
	secret = map[uint]bool{pkcs11.CKA_TOKEN: true, pkcs11.CKA_PRIVATE: true, pkcs11.CKA_SENSITIVE: true, pkcs11.CKA_EXTRACTABLE: false}
	frozen = map[uint]bool{pkcs11.CKA_MODIFIABLE: false, pkcs11.CKA_COPYABLE: false}
	public = map[uint]bool{pkcs11.CKA_TOKEN: true, pkcs11.CKA_PRIVATE: false}
)

// template is the attributes of o, with those and the flags of each set. Uses in without are not
// mentioned.
func (o object) template(without []uint, sets ...map[uint]bool) []*pkcs11.Attribute {
	t := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ID, o.id[:]), pkcs11.NewAttribute(pkcs11.CKA_LABEL, o.label)}
	for _, set := range sets {
		for kind, on := range set {
			t = append(t, pkcs11.NewAttribute(kind, on))
		}
	}
	for _, use := range allUses {
		if !slices.Contains(without, use) {
			t = append(t, pkcs11.NewAttribute(use, slices.Contains(o.uses, use)))
		}
	}
	return t
}

// asFrozen calls create with the attributes of frozen, and without them if the token will not
// have them.
func (s *session) asFrozen(create func(extra map[uint]bool) error) error {
	err := create(frozen)
	if hasErrorCode(err, pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID,
		pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_READ_ONLY) {
		err = create(nil)
	}
	return err
}

// inspect reads back what a key became, attribute by attribute, and that nobody can read its
// value. What is not as it was asked for is ErrKeyPolicy. The session is spent by it.
func (s *session) inspect(h pkcs11.ObjectHandle, o object, without []uint, value uint, madeInside bool) error {
	want := map[uint]bool{pkcs11.CKA_LOCAL: madeInside}
	for kind, on := range secret {
		want[kind] = on
	}
	if madeInside {
		want[pkcs11.CKA_ALWAYS_SENSITIVE], want[pkcs11.CKA_NEVER_EXTRACTABLE] = true, true
	}
	for _, use := range allUses {
		if !slices.Contains(without, use) {
			want[use] = slices.Contains(o.uses, use)
		}
	}
	for kind, on := range want {
		got, err := s.attribute(h, kind)
		if !on && hasErrorCode(err, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID) {
			continue // the token has no such use
		}
		if err != nil {
			return err
		}
		if len(got) != 1 || (got[0] != 0) != on {
			return fmt.Errorf("%w: attribute 0x%X of a new key is not as asked", ErrKeyPolicy, kind)
		}
	}
	id, err := s.attribute(h, pkcs11.CKA_ID)
	if err == nil && !bytes.Equal(id, o.id[:]) {
		err = fmt.Errorf("%w: the CKA_ID of a new key is not as asked", ErrKeyPolicy)
	}
	if err != nil {
		return err
	}
	read, err := s.attribute(h, value)
	if err == nil && len(read) > 0 {
		clear(read)
		return fmt.Errorf("%w: the value of a new key can be read", ErrKeyPolicy)
	}
	if hasErrorCode(err, pkcs11.CKR_ATTRIBUTE_SENSITIVE, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID) {
		return nil
	}
	return err
}

// hasErrorCode tells whether err is an Error with one of those codes.
func hasErrorCode(err error, codes ...uint) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && slices.Contains(codes, e.Code)
}
