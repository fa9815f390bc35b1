package kms

import (
	"bytes"
	"context"
	"maps"
	"reflect"
	"slices"

	"github.com/keyhold/kms/internal/fresh"
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

// SealedFields are the fields of a record that the receipts know to hold something sealed.
func SealedFields() []string { return slices.Sorted(maps.Keys(sealedFields)) }

// FieldsWithBytes are the fields of a record that hold bytes, or a list of what has such fields.
func FieldsWithBytes() (names []string) {
	has := func(t reflect.Type) bool { return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 }
	for _, f := range reflect.VisibleFields(reflect.TypeFor[record]()) {
		held := has(f.Type)
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
			for _, inner := range reflect.VisibleFields(f.Type.Elem()) {
				held = held || has(inner.Type)
			}
		}
		if f.IsExported() && held {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Facts are what a record says of a key, by name.
func Facts(ctx context.Context, m *Manager, id string) (map[string]any, error) {
	c := &call{m: m, op: OpDescribeKey, moment: fresh.Moment{At: m.now()}}
	key, _ := keyid.Parse(id)
	e, err := m.load(ctx, c, key)
	if err != nil {
		return nil, err
	}
	r := e.record
	return map[string]any{
		"disabled": []any{r.Disabled, r.DisabledAt}, "protected": []any{r.Protected, r.ProtectedWhy}, "dependents": slices.Clone(r.Dependents),
		"rotation policy": r.RotationDays, "brown-out": []any{r.BrownShare, r.BrownUntil}, "tags": r.Tags, "description": r.Description,
		"deletion": r.DeleteAt, "versions": []any{r.Primary, len(r.Versions)}, "expiry of material": r.MaterialUntil,
		"kind": []any{r.Spec, r.Usage, r.Origin, r.Protection, r.Owner, r.Service, r.CreatedAt}, "old versions": len(r.Old),
	}, nil
}
