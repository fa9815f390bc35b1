package kms

import (
	"bytes"
	"context"
	"slices"

	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
)

// What the fuzz targets, the frozen vectors and the sweep for leaks may see and do.

// Authenticate makes an item of any content, as the Manager itself would write it.
func Authenticate(m *Manager, name string, body []byte) []byte {
	return m.home.Load().keys.Authenticate(name, body)
}

// RewriteRecord decodes the item of a key and encodes what it found again.
func RewriteRecord(m *Manager, id string, value []byte) ([]byte, error) {
	parsed, _ := keyid.Parse(id)
	r, err := decodeRecord(m.home.Load().keys, parsed, id, value)
	if err != nil {
		return nil, err
	}
	return m.home.Load().keys.Encode(keyItem(id), r)
}

// AddVersion gives a key a new version that encrypts from now on.
func AddVersion(ctx context.Context, m *Manager, id string) error {
	_, err := m.update(ctx, OpSetTags, id, nil, func(c *call, r *record) error {
		n := uint32(len(r.Versions) + 1)
		material, err := m.providers[r.Protection].Generate(ctx, versionID(r, n), r.Spec, r.purpose().use())
		if err != nil {
			return err
		}
		sealed, err := m.home.Load().keys.Seal(sealing.Material(r.ID, n), material)
		if err != nil {
			return err
		}
		v := keyVersion{Version: n, CreatedAt: c.now(), Sealed: sealed}
		r.Versions, r.Primary = append(slices.Clone(r.Versions), v), n
		return nil
	})
	return err
}

// Insides are the values that a Manager holds behind pointers that few printers follow:
// the instance, and of a key that was used its entry, record and opened key.
func Insides(m *Manager, id string) map[string]any {
	parsed, _ := keyid.Parse(id)
	e, _ := m.keys.Get(parsed)
	return map[string]any{
		"instance": m.home.Load(), "entry": e, "record": e.record, "provider.Key": *e.primary.Load(),
		"call": m.begin(OpDecrypt),
	}
}

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
