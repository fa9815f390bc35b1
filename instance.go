package kms

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/xaes"
	"github.com/keyhold/kms/keystore"
)

// DefaultInstance is the instance that every key store has. It never expires.
const DefaultInstance = "default"

const macSize = sha256.Size

// An instance is a key store instance, opened: the keys that seal and authenticate what
// lives in it. They are derived from the instance key, which only the root can open,
// and are held where no printer reaches them.
type instance struct {
	id      string
	storeID []byte // of the key store
	seal    *xaes.Key
	token   *xaes.Key // seals import tokens
	macKey  func() []byte
	fpKey   func() []byte // keys fingerprints of imported material
}

// instanceRecord is the item of an instance. It is authenticated under the keys that are
// derived from the instance key, which it holds sealed.
type instanceRecord struct {
	ID        string    `json:"id"`
	Store     []byte    `json:"store"` // 16 random bytes, made with the key store
	CreatedAt time.Time `json:"created"`
	Seq       uint64    `json:"seq"`
	Sealed    []byte    `json:"root"` // the instance key, by the root
}

// openInstance opens the default instance and makes it, if this key store is new.
func openInstance(ctx context.Context, s keystore.Store, root Root, now time.Time) (*instance, error) {
	name := instanceItem(DefaultInstance)
	item, err := s.Get(ctx, name)
	if errors.Is(err, keystore.ErrNotFound) {
		var in *instance
		if in, err = createInstance(ctx, s, root, now); !errors.Is(err, errStale) {
			return in, err
		}
		item, err = s.Get(ctx, name)
	}
	if errors.Is(err, keystore.ErrNotFound) {
		return nil, refuseBecause(opOpen, "", ErrTampered, "there are keys but no instance", nil)
	}
	if err != nil {
		return nil, unavailable(opOpen, "", "the key store", err)
	}
	in, _, err := unsealInstance(opOpen, DefaultInstance, item.Value, root)
	return in, err
}

// createInstance makes the default instance of a new key store. It is errStale where
// somebody else was quicker, and where the store holds keys and so is not new.
func createInstance(ctx context.Context, s keystore.Store, root Root, now time.Time) (*instance, error) {
	for _, err := range s.List(ctx, keySegment, "") {
		if err != nil {
			return nil, unavailable(opOpen, "", "the key store", err)
		}
		return nil, errStale
	}
	rec := instanceRecord{ID: DefaultInstance, Store: randomBytes(16), CreatedAt: now, Seq: 1}
	key := randomBytes(32)
	var err error
	if rec.Sealed, err = sealUnder(root, key, rootContext(rec.Store, rec.ID)); err != nil {
		return nil, refuseBecause(opOpen, "", ErrRoot, "sealing the instance key", err)
	}
	in, err := deriveInstance(rec.ID, rec.Store, key)
	if err != nil {
		return nil, err
	}
	value, err := in.encodeItem(instanceItem(rec.ID), rec)
	if err != nil {
		return nil, invalid(opOpen, "a date is beyond the year 9999: look at Config.Now")
	}
	_, err = s.Put(ctx, instanceItem(rec.ID), "", value)
	return in, written(opOpen, "", err)
}

// unsealInstance opens the record of the instance id with root.
func unsealInstance(op Op, id string, value []byte, root Root) (*instance, instanceRecord, error) {
	var rec, authentic instanceRecord
	tampered := refuseBecause(op, "", ErrTampered, "the record of the instance", nil)
	rest, ok := bytes.CutPrefix(value, (&instance{id: id}).prefix())
	if !ok || len(rest) < macSize || json.Unmarshal(rest[macSize:], &rec) != nil || rec.ID != id || len(rec.Store) != 16 {
		return nil, rec, tampered
	}
	key, err := root.Decrypt(rec.Sealed, rootContext(rec.Store, rec.ID))
	if err != nil || len(key) != 32 {
		return nil, rec, refuseBecause(op, "", ErrRoot, "", err)
	}
	in, err := deriveInstance(rec.ID, rec.Store, key)
	if err != nil {
		return nil, rec, err
	}
	if in.decodeItem(instanceItem(id), value, &authentic) != nil {
		return nil, rec, tampered
	}
	return in, authentic, nil
}

// rootContext is the associated data under which the root seals an instance key.
func rootContext(store []byte, id string) []byte {
	return framed([]byte("keyhold instance key v1"), store, []byte(id))
}

// deriveInstance derives the keys of an instance and wipes the instance key.
func deriveInstance(id string, store, key []byte) (*instance, error) {
	defer clear(key)
	in := &instance{id: id, storeID: store}
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
	macKey, fpKey := derive("keyhold/v1/record-mac"), derive("keyhold/v1/fingerprint")
	in.macKey, in.fpKey = func() []byte { return macKey }, func() []byte { return fpKey }
	if err != nil {
		return nil, errors.NewAssertionErrorWithWrappedErrf(err, "kms: deriving the keys of an instance")
	}
	return in, nil
}

// prefix begins every item that this instance authenticates.
func (in *instance) prefix() []byte {
	return append([]byte{1, byte(len(in.id))}, in.id...)
}

func (in *instance) mac(name string, prefix, body []byte) []byte {
	h := hmac.New(sha256.New, in.macKey())
	h.Write(framed([]byte("keyhold record v1"), in.storeID, []byte(name), prefix, body))
	return h.Sum(nil)
}

func (in *instance) verify(mac []byte, name string, prefix, body []byte) bool {
	return hmac.Equal(mac, in.mac(name, prefix, body))
}

// sealMaterial seals the material of a key version for the place where it belongs.
func (in *instance) sealMaterial(id keyID, version uint32, material []byte) []byte {
	return in.seal.Seal(nil, material, in.materialContext(id, version))
}

func (in *instance) openMaterial(id keyID, v *keyVersion) ([]byte, error) {
	return in.seal.Open(nil, v.Sealed, in.materialContext(id, v.Version))
}

func (in *instance) materialContext(id keyID, version uint32) []byte {
	return framed([]byte("keyhold material v1"), in.storeID, []byte(in.id), id[:], binary.BigEndian.AppendUint32(nil, version))
}

func (in *instance) shredContext(id keyID) []byte {
	return framed([]byte("keyhold shred secret v1"), in.storeID, []byte(in.id), id[:])
}

func (in *instance) tokenContext(id keyID) []byte {
	return framed([]byte("keyhold import token v1"), in.storeID, []byte(in.id), id[:])
}

// fingerprint tells the same material again. It is keyed and bound to the key: equal
// material of two keys does not show.
func (in *instance) fingerprint(id keyID, spec Spec, material []byte) []byte {
	h := hmac.New(sha256.New, in.fpKey())
	h.Write(framed([]byte("keyhold fingerprint v1"), in.storeID, []byte(in.id), id[:], []byte(spec), material))
	return h.Sum(nil)
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
