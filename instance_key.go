package kms

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"sync/atomic"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/xaes"
)

const macSize = sha256.Size

// An instance is a key store instance, opened: the keys that seal and authenticate what
// lives in it. They are derived from the instance key, which only the root can open,
// and are held where no printer reaches them.
type instance struct {
	id         string
	storeID    []byte // of the key store
	generation uint64 // which of its instance keys this is
	seal       *xaes.Key
	token      *xaes.Key // seals import tokens
	macKey     func() []byte
	former     *instance      // with the instance key of before, while it is shredded; nil
	checked    *atomic.Uint64 // the position of the feed at which this was seen to be the key
}

// deriveInstance derives the keys of an instance and wipes the instance key.
func deriveInstance(id string, store []byte, generation uint64, key []byte) (*instance, error) {
	defer clear(key)
	in := &instance{id: id, storeID: store, generation: generation, checked: new(atomic.Uint64)}
	in.checked.Store(math.MaxUint64)
	var err error
	derive := func(label string) (derived []byte) {
		if err == nil {
			derived, err = hkdf.Expand(sha256.New, key, label, 32)
		}
		return derived
	}
	cipher := func(label string) (k *xaes.Key) {
		derived := derive(label)
		defer clear(derived)
		if err == nil {
			k, err = xaes.New(derived)
		}
		return k
	}
	in.seal, in.token = cipher("keyhold/v1/seal"), cipher("keyhold/v1/import-token")
	macKey := derive("keyhold/v1/record-mac")
	in.macKey = func() []byte { return macKey }
	if err != nil {
		return nil, errors.NewAssertionErrorWithWrappedErrf(err, "kms: deriving the keys of an instance")
	}
	return in, nil
}

// alone is an instance without its former key.
func (in *instance) alone() *instance {
	out := *in
	out.former = nil
	return &out
}

// prefix begins every item that this instance authenticates.
func (in *instance) prefix() []byte {
	return append([]byte{1, byte(len(in.id))}, in.id...)
}

// instanceNamed is the instance that an item says it is authenticated by.
func instanceNamed(value []byte) (id string, ok bool) {
	if len(value) < 2 || value[0] != 1 {
		return "", false
	}
	end := 2 + int(value[1])
	if len(value) < end {
		return "", false
	}
	id = string(value[2:end])
	return id, validInstanceID(id)
}

func (in *instance) mac(name string, prefix, body []byte) []byte {
	h := hmac.New(sha256.New, in.macKey())
	h.Write(framed([]byte("keyhold record v1"), in.storeID, []byte(name), prefix, body))
	return h.Sum(nil)
}

func (in *instance) verify(mac []byte, name string, prefix, body []byte) bool {
	return hmac.Equal(mac, in.mac(name, prefix, body))
}

// sealedBy is Key.Seal, which has nothing to give where there is no AES: xaes.New tells of that before.
func sealedBy(key *xaes.Key, dst, plaintext, where []byte) ([]byte, error) {
	sealed := key.Seal(dst, plaintext, where)
	if sealed == nil {
		return nil, errors.AssertionFailedf("kms: sealing failed")
	}
	return sealed, nil
}

// sealMaterial seals the material of a key version for the place where it belongs.
func (in *instance) sealMaterial(id keyid.ID, version uint32, material []byte) ([]byte, error) {
	return sealedBy(in.seal, nil, material, in.materialContext(id, version))
}

func (in *instance) openMaterial(id keyid.ID, v *keyVersion) ([]byte, error) {
	return in.seal.Open(nil, v.Sealed, in.materialContext(id, v.Version))
}

func (in *instance) materialContext(id keyid.ID, version uint32) []byte {
	return framed([]byte("keyhold material v1"), in.storeID, []byte(in.id), id[:], binary.BigEndian.AppendUint32(nil, version))
}

func (in *instance) shredContext(id keyid.ID) []byte {
	return framed([]byte("keyhold shred secret v1"), in.storeID, []byte(in.id), id[:])
}

func (in *instance) oldContext(id keyid.ID, i int, v *oldVersion) []byte {
	n := binary.BigEndian.AppendUint32(nil, uint32(i))
	return framed([]byte("keyhold legacy material v1"), in.storeID, []byte(in.id), id[:], n, []byte(v.Scheme), []byte(v.Locator))
}

func (in *instance) tokenContext(id keyid.ID) []byte {
	return framed([]byte("keyhold import token v1"), in.storeID, []byte(in.id), id[:])
}

// rootContext is the associated data under which the root seals an instance key.
func rootContext(store []byte, id string) []byte {
	return framed([]byte("keyhold instance key v1"), store, []byte(id))
}

// framed joins parts so that no other parts give the same bytes: each behind its length.
func framed(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
