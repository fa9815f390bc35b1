package kms

import (
	"bytes"
	"context"
	"slices"
)

// BreakSeals damages all that is sealed in the record of a key, and writes that as a bug would: it
// is authentic, and does not open.
func BreakSeals(ctx context.Context, m *Manager, id string) error {
	_, err := m.update(ctx, OpSetTags, id, nil, func(_ *call, r *record) error {
		broken := func(sealed []byte) []byte {
			if sealed = bytes.Clone(sealed); len(sealed) > 0 {
				sealed[len(sealed)-1] ^= 1
			}
			return sealed
		}
		r.Versions, r.Old, r.Shred = slices.Clone(r.Versions), slices.Clone(r.Old), broken(r.Shred)
		for i := range r.Versions {
			r.Versions[i].Sealed = broken(r.Versions[i].Sealed)
		}
		for i := range r.Old {
			r.Old[i].Sealed = broken(r.Old[i].Sealed)
		}
		return nil
	})
	return err
}
