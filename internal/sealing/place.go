package sealing

import (
	"encoding/binary"

	"github.com/keyhold/kms/internal/keyid"
)

// Place is where a sealed secret belongs. Each kind of secret has associated data of its own, with
// the key store, the instance and the key in it, so that nothing opens in another place.
type Place struct {
	label string
	parts [][]byte
	token bool // sealed with the key for import tokens
}

// Material is the place of the material of a key version.
func Material(id keyid.ID, version uint32) Place {
	return Place{label: "keyhold material v1", parts: [][]byte{id[:], binary.BigEndian.AppendUint32(nil, version)}}
}

// ShredSecret is the place of the secret from which the working key of imported material is
// derived.
func ShredSecret(id keyid.ID) Place {
	return Place{label: "keyhold shred secret v1", parts: [][]byte{id[:]}}
}

// Legacy is the place of the material of the i-th version that a key had in another system.
func Legacy(id keyid.ID, i int, scheme, locator string) Place {
	n := binary.BigEndian.AppendUint32(nil, uint32(i))
	return Place{label: "keyhold legacy material v1", parts: [][]byte{id[:], n, []byte(scheme), []byte(locator)}}
}

// ImportToken is the place of what an import token holds.
func ImportToken(id keyid.ID) Place {
	return Place{label: "keyhold import token v1", parts: [][]byte{id[:]}, token: true}
}

// Seal seals a secret for its place.
func (k *Keys) Seal(p Place, secret []byte) ([]byte, error) {
	key := k.seal
	if p.token {
		key = k.token
	}
	return Append(key, nil, secret, k.context(p))
}

// Open opens what Seal sealed for that place. The caller wipes the secret.
func (k *Keys) Open(p Place, sealed []byte) (secret []byte, err error) {
	key := k.seal
	if p.token {
		key = k.token
	}
	return key.Open(nil, sealed, k.context(p))
}

// context is the associated data of a place.
func (k *Keys) context(p Place) []byte {
	return Join(append([][]byte{[]byte(p.label), k.storeID, []byte(k.id)}, p.parts...)...)
}

// RootContext is the associated data under which the root seals the key of an instance.
func RootContext(storeID []byte, id string) []byte {
	return Join([]byte("keyhold instance key v1"), storeID, []byte(id))
}
