package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keyhold/kms/legacy"
)

// The list of keys in a file, with the fields in their order.
type (
	jsonKey struct {
		ID          string        `json:"id"`
		Description string        `json:"description"`
		Created     time.Time     `json:"created"`
		Imported    bool          `json:"imported"`
		Rotates     bool          `json:"rotates"`
		Versions    []jsonVersion `json:"versions"`
	}
	jsonVersion struct {
		ID       string    `json:"id"`
		Created  time.Time `json:"created"`
		Material []byte    `json:"material"`
	}
)

// encode makes the list of all keys.
func (s *Source) encode() ([]byte, error) {
	list := []jsonKey{}
	for k := range s.keys.Keys(context.Background()) { // without an error, for it cannot be cancelled
		j := jsonKey{k.ID, k.Description, k.CreatedAt.UTC(), k.Imported, k.Rotates, nil}
		for _, v := range k.Versions {
			material := v.Material()
			defer clear(material)
			j.Versions = append(j.Versions, jsonVersion{v.Locator, v.CreatedAt.UTC(), material[1:]})
		}
		list = append(list, j)
	}
	b, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("%w: a time cannot be written", ErrKeys)
	}
	return b, nil
}

// decode takes what encode makes and nothing else.
func decode(plain []byte) (*Source, error) {
	var list []jsonKey
	if json.Unmarshal(plain, &list) != nil {
		return nil, fmt.Errorf("%w: the keys in it are malformed", ErrFile)
	}
	var keys []legacy.Key
	for _, j := range list {
		k := legacy.Key{ID: j.ID, Description: j.Description, CreatedAt: j.Created, Imported: j.Imported, Rotates: j.Rotates}
		for _, v := range j.Versions {
			k.Versions = append(k.Versions, NewVersion(v.ID, v.Created, v.Material))
			clear(v.Material)
		}
		keys = append(keys, k)
	}
	s, err := New(keys...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	again, err := s.encode()
	defer clear(again)
	if err != nil || !bytes.Equal(again, plain) {
		return nil, fmt.Errorf("%w: the keys in it are malformed", ErrFile)
	}
	return s, nil
}
