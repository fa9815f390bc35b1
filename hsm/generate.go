//go:build cgo

package hsm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/internal/unfilled"
	"github.com/keyhold/kms/provider"
)

// label is the CKA_LABEL of a key: for those who look into the token, and for Orphans.
func label(id string) string { return labelPrefix + id }

const labelPrefix = "keyhold:"

// Generate makes a key in the token and returns the reference to it, some 150 bytes, and for key
// pairs their public half. The key is read back and tried once; if it is not as it was asked for,
// it is destroyed, and the error is ErrKeyPolicy. While it is made nothing else is done in the
// token.
func (t *Token) Generate(ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
	return t.add(ctx, id, spec, use, nil)
}

// Import makes a key that was made elsewhere one of the token's, as Generate does. It is in the
// host's memory until Import returns, or, where ctx ends before, until the token answers. A key that
// is not one of that spec, or whose bytes are all the same, is provider.ErrUnsupported.
func (t *Token) Import(ctx context.Context, id string, spec provider.Spec, use provider.Use, key []byte) ([]byte, error) {
	if key == nil {
		key = []byte{}
	}
	return t.add(ctx, id, spec, use, key)
}

// add makes a key, or where one is given makes that the token's.
func (t *Token) add(ctx context.Context, id string, spec provider.Spec, use provider.Use, key []byte) ([]byte, error) {
	k, ok := kindOf(spec, use)
	if !ok {
		return nil, unsupported("there are no hardware keys of that spec for that use")
	}
	if len(id) < 1 || len(id) > referenceMaxID {
		return nil, errID
	}
	if key != nil && k.opposite == nil && unfilled.Buffer(key) {
		return nil, errNotOfSpec
	}
	if err := t.ready(ctx, k, key != nil); err != nil {
		return nil, err
	}
	r := reference{object: newObjectID(), spec: spec, use: use, id: id}
	key = slices.Clone(key)
	defer func() {
		if ctx.Err() == nil { // else the module may still read it, and s.add clears it
			clear(key)
		}
	}()
	return do(ctx, t, creating, func(s *session) ([]byte, error) {
		r := r
		r.witness = s.g.witness
		made, err := s.add(t, k, r, key)
		if err == nil && ctx.Err() != nil {
			err = errNobodyWaits
		}
		if err != nil {
			s.undo(r)
			return nil, err
		}
		return made, nil
	})
}

var (
	errID          = fmt.Errorf("hsm: an id has 1 to 128 bytes: %w", provider.ErrUnsupported)
	errNotOfSpec   = fmt.Errorf("hsm: not a key of that spec, or its bytes are all the same: %w", provider.ErrUnsupported)
	errNobodyWaits = errors.New("hsm: the call ended before its key was made")
)

// ready sees to it that the connection is good, and that the token offers such keys: making a
// key is not tried twice.
func (t *Token) ready(ctx context.Context, k kind, imported bool) error {
	_, err := do(ctx, t, using, func(s *session) (struct{}, error) {
		if err := s.feel(); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, s.offers(k, imported)
	})
	return err
}

// add makes a key, inspects it, and tries it.
func (s *session) add(t *Token, k kind, r reference, key []byte) (material []byte, err error) {
	defer clear(key)
	o := object{label: label(r.id), id: r.object, uses: k.uses}
	if key == nil {
		r.public, err = k.generate(s, k, o)
	} else {
		r.public, err = k.bring(s, k, o, key)
	}
	if err != nil {
		return nil, err
	}
	h, err := s.handle(k.class(), r)
	if err != nil {
		return nil, err
	}
	without, value := notForSecret, uint(pkcs11.CKA_VALUE)
	if k.opposite != nil {
		without = notForPrivate
		if k.curve == nil {
			value = pkcs11.CKA_PRIVATE_EXPONENT
		}
	}
	if err := s.inspect(h, o, without, value, key == nil); err != nil {
		return nil, err
	}
	if err := k.open(t, r).(trier).try(s); err != nil {
		return nil, err
	}
	return r.encode(), nil
}

// A trier is an opened key that can be tried in a session that is there.
type trier interface{ try(*session) error }

// undo removes what was made of a key, if anything was, as well as it can.
func (s *session) undo(r reference) {
	for _, class := range classesOf(r) {
		found, err := s.at(place{class, r.object})
		if err != nil {
			continue
		}
		for _, h := range found {
			_ = s.g.p.DestroyObject(s.h, h)
		}
		s.g.forget(place{class, r.object})
	}
}

// generateSecret makes a secret key.
func (s *session) generateSecret(mechanism, keyType uint, size int, o object) (h pkcs11.ObjectHandle, err error) {
	err = s.asFrozen(func(extra map[uint]bool) error {
		h, err = s.g.p.GenerateKey(s.h, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, append(o.template(notForSecret, secret, extra),
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
			pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, keyType),
			pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, size)))
		return s.fail("C_GenerateKey", err)
	})
	if err == nil {
		s.g.handles.Store(place{pkcs11.CKO_SECRET_KEY, o.id}, h)
	}
	return h, err
}

// bringSecret makes a secret key of its value.
func (s *session) bringSecret(keyType uint, o object, value []byte) error {
	return s.asFrozen(func(extra map[uint]bool) error {
		h, err := s.g.p.CreateObject(s.h, append(o.template(notForSecret, secret, extra),
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
			pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, keyType),
			pkcs11.NewAttribute(pkcs11.CKA_VALUE, value)))
		if err == nil {
			s.g.handles.Store(place{pkcs11.CKO_SECRET_KEY, o.id}, h)
		}
		return s.fail("C_CreateObject", err)
	})
}
