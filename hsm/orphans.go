//go:build cgo

package hsm

import (
	"context"
	"strings"

	"github.com/miekg/pkcs11"
)

// Orphans lists the keys in the token that the provider made and nobody keeps: where a process
// was killed between making a key and writing it down. kept tells whether there is a key of an
// ID. Where there is, and two objects have that ID, both are listed as twins: which of them is
// the key's the record alone knows. Nothing is destroyed. It reads every object of the token,
// which takes seconds where there are many. Without kept it is provider.ErrUnsupported.
//
// A key that is being made just now looks like an orphan. List twice, minutes apart, and believe
// in what is there both times.
func (t *Token) Orphans(ctx context.Context, kept func(id string) bool) ([]Object, error) {
	if kept == nil { // every key would look like an orphan
		return nil, unsupported("Orphans needs the function that says which keys are kept")
	}
	objects, err := do(ctx, t, using, func(s *session) ([]Object, error) {
		if err := s.see(s.g.witness); err != nil {
			return nil, err
		}
		return s.ours()
	})
	if err != nil {
		return nil, err
	}
	count := map[string]int{}
	for _, o := range objects {
		count[o.ID]++
	}
	var orphans []Object
	for _, o := range objects {
		known := kept(o.ID)
		if o.Twin = known && count[o.ID] > 1; o.Twin || !known {
			orphans = append(orphans, o)
		}
	}
	return orphans, nil
}

// ours are the keys that Generate and Import made, by their labels.
func (s *session) ours() ([]Object, error) {
	var ours []Object
	for _, class := range []uint{pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY} {
		handles, err := s.search(1<<20, pkcs11.NewAttribute(pkcs11.CKA_CLASS, class))
		if err != nil {
			return nil, err
		}
		for _, h := range handles {
			name, err := s.attribute(h, pkcs11.CKA_LABEL)
			if err != nil {
				return nil, err
			}
			id, ok := strings.CutPrefix(string(name), labelPrefix)
			if !ok {
				continue
			}
			b, err := s.attribute(h, pkcs11.CKA_ID)
			if err != nil {
				return nil, err
			}
			if len(b) == len(objectID{}) {
				ours = append(ours, Object{ID: id, CKAID: objectID(b).String()})
			}
		}
	}
	return ours, nil
}
