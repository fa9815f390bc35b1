package keyring

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
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

// encodeKeys wants keys that New took.
func encodeKeys(keys []legacy.Key) ([]byte, error) {
	list := make([]jsonKey, 0, len(keys))
	for _, k := range keys {
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

// decodeKeys takes what encodeKeys writes and nothing else.
func decodeKeys(plain []byte) ([]legacy.Key, error) {
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
	if !slices.IsSortedFunc(keys, func(a, b legacy.Key) int { return cmp.Compare(a.ID, b.ID) }) {
		return nil, fmt.Errorf("%w: the keys in it are not sorted", ErrFile)
	}
	if err := check(keys); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	again, err := encodeKeys(keys)
	defer clear(again)
	if err != nil || !bytes.Equal(again, plain) {
		return nil, fmt.Errorf("%w: the keys in it are malformed", ErrFile)
	}
	return keys, nil
}
