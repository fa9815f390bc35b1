package kms

import (
	"context"
	"slices"
	"strconv"

	"github.com/keyhold/kms/provider"
)

// create writes the record of a new key and, unless it is to be imported, its first version.
func (m *Manager) create(ctx context.Context, c *call, r *record) error {
	if r.Origin == OriginKMS {
		if err := m.addVersion(ctx, c, r); err != nil {
			return err
		}
	}
	_, err := m.write(ctx, c, r, "")
	return err
}

// addVersion has the provider make a further version of a key, and makes it the primary.
func (m *Manager) addVersion(ctx context.Context, c *call, r *record) error {
	if len(r.Versions) >= m.maxVersions {
		return refuse(c.op, r.id(), ErrLimit)
	}
	p, err := m.provider(c, r)
	if err != nil {
		return err
	}
	n := r.lastVersion() + 1
	material, err := p.Generate(ctx, versionID(r, n), r.Spec, r.purpose().use())
	if err != nil {
		return fromProvider(c.op, r.id(), err)
	}
	return m.keepVersion(c, r, n, material)
}

// keepVersion puts a version into a record, sealed, as its primary, and wipes the material.
func (m *Manager) keepVersion(c *call, r *record, n uint32, material []byte) error {
	defer clear(material)
	sealed, err := r.in.sealMaterial(r.ID, n, material)
	if err != nil {
		return err
	}
	r.Primary = n
	r.Versions = append(slices.Clip(r.Versions), keyVersion{Version: n, CreatedAt: c.now(), Sealed: sealed})
	return nil
}

// provider is the one of a key's protection level, if this Manager has it.
func (m *Manager) provider(c *call, r *record) (provider.Provider, error) {
	p := m.providers[r.Protection]
	if p == nil {
		return nil, refuseBecause(c.op, r.id(), ErrUnsupported, "the protection level of the key", nil)
	}
	return p, nil
}

// material unseals what a version's provider made. The caller wipes it.
func (m *Manager) material(c *call, r *record, v *keyVersion) ([]byte, error) {
	material, err := r.in.openMaterial(r.ID, v)
	if err != nil {
		return nil, refuseBecause(c.op, r.id(), ErrTampered, "the sealed material", nil)
	}
	return material, nil
}

// versionID is the name under which a provider knows a key version.
func versionID(r *record, version uint32) string {
	return r.id() + "/" + strconv.FormatUint(uint64(version), 10)
}
