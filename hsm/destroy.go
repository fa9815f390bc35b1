//go:build cgo

package hsm

import (
	"context"

	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/provider"
)

// classesOf are the objects that a key consists of, the one that stays inside first. Each search
// takes long where there are many.
func classesOf(r reference) []uint {
	k, known := kindOf(r.spec, r.use)
	switch {
	case !known:
		return []uint{pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY}
	case k.opposite == nil:
		return []uint{pkcs11.CKO_SECRET_KEY}
	}
	return []uint{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY}
}

// Destroy removes the objects of a key from the token and returns nil when they are not found
// any more while the witness is: also when they were gone before. While a token is away, or
// another is in its place, it is provider.ErrUnavailable.
func (t *Token) Destroy(ctx context.Context, id string, material []byte) error {
	r, err := referenceOf(id, material)
	if err != nil {
		return err
	}
	_, err = do(ctx, t, destroying, func(s *session) (none struct{}, err error) {
		for _, class := range classesOf(r) {
			if err := s.destroy(place{class, r.object}); err != nil {
				return none, err
			}
		}
		return none, s.see(r.witness)
	})
	return err
}

// destroy removes what is at a place, and looks again.
func (s *session) destroy(p place) error {
	s.g.forget(p)
	found, err := s.at(p)
	if err != nil || len(found) == 0 {
		return err
	}
	for _, h := range found {
		if err := s.g.p.DestroyObject(s.h, h); err != nil {
			return s.fail("C_DestroyObject", err)
		}
	}
	if found, err = s.at(p); err == nil && len(found) > 0 {
		err = unavailable("an object is still there after it was destroyed")
	}
	return err
}

// Open returns the key of a reference. A key that was destroyed is provider.ErrNoKey, and one that
// is in another token provider.ErrElsewhere.
func (t *Token) Open(ctx context.Context, id string, spec provider.Spec, material []byte) (provider.Key, error) {
	r, err := referenceOf(id, material)
	if err != nil {
		return nil, err
	}
	k, ok := kindOf(r.spec, r.use)
	if r.spec != spec || !ok {
		if _, known := kindOf(spec, append(spec.Uses(), "")[0]); !known {
			return nil, unsupported("there are no hardware keys of that spec")
		}
		return nil, errOtherSpec()
	}
	_, err = do(ctx, t, using, func(s *session) (pkcs11.ObjectHandle, error) { return s.handle(k.class(), r) })
	if err != nil {
		return nil, err
	}
	return k.open(t, r), nil
}
