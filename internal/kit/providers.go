package kit

import (
	"bytes"
	"context"

	"github.com/keyhold/kms/provider"
)

// A Recorder is a provider that notes what it is asked to destroy, and may refuse to.
type Recorder struct {
	provider.Provider
	Destroyed []string
	Fail      error
}

// Destroy notes the ID, unless Fail is set.
func (r *Recorder) Destroy(ctx context.Context, id string, material []byte) error {
	if r.Fail != nil {
		return r.Fail
	}
	r.Destroyed = append(r.Destroyed, id)
	return r.Provider.Destroy(ctx, id, material)
}

// Import does what the provider does.
func (r *Recorder) Import(ctx context.Context, id string, spec provider.Spec, use provider.Use, key []byte) ([]byte, error) {
	return r.Provider.(provider.Importer).Import(ctx, id, spec, use, key)
}

// A Spy is a provider that remembers the material it made.
type Spy struct {
	provider.Provider
	Materials [][]byte
}

// Import does what the provider does.
func (s *Spy) Import(ctx context.Context, id string, spec provider.Spec, use provider.Use, key []byte) ([]byte, error) {
	return s.Provider.(provider.Importer).Import(ctx, id, spec, use, key)
}

// Generate remembers the material.
func (s *Spy) Generate(ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
	material, err := s.Provider.Generate(ctx, id, spec, use)
	_, secret, _ := bytes.Cut(material, []byte(id)) // the name before it is no secret
	s.Materials = append(s.Materials, bytes.Clone(secret))
	return material, err
}
