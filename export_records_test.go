package kms

import (
	"bytes"
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/keyhold/kms/internal/fresh"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/legacy"
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
		"deletion": r.DeleteAt, "versions": []any{r.Primary, len(r.Versions)}, "retirement": []any{r.RetiringBefore, r.RetiredBefore, r.RetireAt}, "expiry of material": r.MaterialUntil,
		"kind": []any{r.Spec, r.Usage, r.Origin, r.Protection, r.Owner, r.Service, r.CreatedAt}, "old versions": len(r.Old),
	}, nil
}

// Give adds versions to a key and replaces its dependents, in the name of an operation, and so
// within the bounds of that.
func Give(ctx context.Context, m *Manager, op Op, id string, versions int, dependents []Dependent) error {
	_, err := m.update(ctx, op, id, nil, func(c *call, r *record) error {
		r.Dependents = dependents
		for range versions {
			if err := m.addVersion(ctx, c, r); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// Bounds are those of the parts of a record, what is left for the rest, and what all may take.
func Bounds() (parts map[string]int, rest, whole int) {
	parts = map[string]int{}
	for _, p := range recordParts {
		parts[p.what] = p.most
	}
	return parts, maxRest, sealing.MaxBody
}

// RestAtBounds is the size of a record that has nothing of its parts, and of all else as much as
// may be. A text without a bound is returned by its name.
func RestAtBounds() (size int, unbounded []string) {
	texts := map[string]int{ // in characters of six bytes
		"ProtectedWhy": MaxDescription, "RetireWhy": MaxDependent, "Service": MaxServiceCode,
		"Spec": 32, "Usage": 32, "Origin": 32, "Protection": 32, "Owner": 32, // constants
	}
	inParts := []string{"Versions", "Doomed", "Old", "Description", "Tags", "Dependents"}
	r := &record{}
	of := reflect.ValueOf(r).Elem()
	for _, f := range reflect.VisibleFields(of.Type()) {
		v := of.FieldByIndex(f.Index)
		switch {
		case !f.IsExported() || slices.Contains(inParts, f.Name):
		case f.Type == reflect.TypeFor[time.Time]():
			v.Set(reflect.ValueOf(time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)))
		case v.Kind() == reflect.String:
			if texts[f.Name] == 0 {
				unbounded = append(unbounded, f.Name)
			}
			v.SetString(strings.Repeat("\x01", texts[f.Name]))
		case v.Kind() == reflect.Bool:
			v.SetBool(true)
		case v.CanUint():
			v.SetUint(1<<v.Type().Bits() - 1)
		case v.CanInt():
			v.SetInt(-1 << (v.Type().Bits() - 1))
		case f.Type == reflect.TypeFor[[]byte]():
			v.SetBytes(make([]byte, 1<<10)) // sealed secrets of 32 bytes, and a MAC
		case f.Type == reflect.TypeFor[*oldProof]():
			v.Set(reflect.ValueOf(&oldProof{Scheme: strings.Repeat("s", 64), Locator: strings.Repeat("\x01", legacy.MaxLocator), MAC: make([]byte, 32)}))
		case f.Type == reflect.TypeFor[*forgetting]():
			v.Set(reflect.ValueOf(&forgetting{At: r.CreatedAt, Generation: 1<<64 - 1}))
		case f.Type != reflect.TypeFor[keyid.ID]():
			unbounded = append(unbounded, f.Name)
		}
	}
	text, err := sealing.JSON(r)
	if err != nil {
		panic(err)
	}
	return len(text) + 1<<10, unbounded // with the names of the parts
}
