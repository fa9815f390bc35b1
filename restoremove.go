package kms

import (
	"slices"

	"github.com/cockroachdb/errors"
)

// moveTo is a record that is sound with all that is sealed in it sealed anew, for another
// instance.
func (r *record) moveTo(in *instance) (*record, error) {
	moved := r.clone()
	moved.in = in
	for _, list := range []*[]keyVersion{&moved.Versions, &moved.Doomed} {
		*list = slices.Clone(*list)
		for i := range *list {
			v := &(*list)[i]
			where := func(in *instance) []byte { return in.materialContext(r.ID, v.Version) }
			if err := r.in.pass(in, &v.Sealed, where); err != nil {
				return nil, err
			}
		}
	}
	moved.Old = slices.Clone(moved.Old)
	for i := range moved.Old {
		v := &moved.Old[i]
		where := func(in *instance) []byte { return in.oldContext(r.ID, i, v) }
		if err := r.in.pass(in, &v.Sealed, where); err != nil {
			return nil, err
		}
	}
	if r.Shred != nil {
		where := func(in *instance) []byte { return in.shredContext(r.ID) }
		if err := r.in.pass(in, &moved.Shred, where); err != nil {
			return nil, err
		}
	}
	return moved, nil
}

// pass seals anew for another instance what this one sealed.
func (in *instance) pass(to *instance, sealed *[]byte, where func(*instance) []byte) error {
	secret, err := in.seal.Open(nil, *sealed, where(in))
	defer clear(secret)
	if err != nil {
		return errors.AssertionFailedf("kms: what was sound in a backup does not open")
	}
	*sealed, err = sealedBy(to.seal, nil, secret, where(to))
	return err
}
