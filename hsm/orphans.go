//go:build cgo

package hsm

import (
	"context"
	"fmt"
	"strings"

	"github.com/miekg/pkcs11"
)

// Orphans lists the keys in the token that the provider made and nobody keeps: where a process
// was killed between making a key and writing it down. kept tells whether there is a key of an
// ID. Where there is, and two objects have that ID, both are listed as twins: which of them is
// the key's the record alone knows. Nothing is destroyed. It reads every object of the token,
// which takes seconds where there are many.
//
// A key that is being made just now looks like an orphan. List twice, minutes apart, and believe
// in what is there both times.
func (t *Token) Orphans(ctx context.Context, kept func(id string) bool) ([]Object, error) {
	objects, err := do(ctx, t, using, func(s *session) ([]Object, error) {
		if err := s.see(*t.witness.Load()); err != nil {
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

// Health looks whether the token is there, logged in, and shows its witness; if not, it is an
// error, as every call would get.
func (t *Token) Health(ctx context.Context) (Health, error) {
	return do(ctx, t, using, func(s *session) (Health, error) {
		if err := s.see(*t.witness.Load()); err != nil {
			return Health{}, err
		}
		info, err := s.g.p.GetTokenInfo(s.g.slot)
		if err != nil {
			return Health{}, s.fail("C_GetTokenInfo", err)
		}
		return Health{
			Label: info.Label, Serial: info.SerialNumber, Manufacturer: info.ManufacturerID, Model: info.Model,
			Firmware: version(info.FirmwareVersion), Busy: len(s.g.tickets), Most: cap(s.g.tickets),
			Connections: int(t.connections.Load()),
		}, nil
	})
}

func version(v pkcs11.Version) string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }
