package kms

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

// instanceRecord is the item of an instance. That of the default instance is authenticated
// under the keys that are derived from the instance key, which it holds sealed; those of
// the others under the keys of the default instance, so that they can be read without the
// root. Where the sealed key is gone the instance is released, and all that lived in it is
// noise.
type instanceRecord struct {
	ID           string      `json:"id"`
	Store        []byte      `json:"store"` // 16 random bytes, made with the key store
	CreatedAt    time.Time   `json:"created"`
	Seq          uint64      `json:"seq"`
	Sealed       []byte      `json:"root,omitempty"` // the instance key, by the root
	Name         string      `json:"name,omitempty"`
	Protection   Protection  `json:"protection,omitempty"` // of its keys; "": either
	ExpiresAt    time.Time   `json:"expiresAt,omitzero"`
	Protected    bool        `json:"protected,omitempty"`
	ProtectedWhy string      `json:"protectedWhy,omitempty"`
	ReleasedAt   time.Time   `json:"releasedAt,omitzero"` // when its key was destroyed
	OverSeenAt   time.Time   `json:"overSeenAt,omitzero"` // when Maintain first saw its grace over
	Told         Notice      `json:"told,omitempty"`      // the last notice of its end
	Backup       *backupMark `json:"backup,omitempty"`    // of the last backup

	// Of its instance keys, each of which is a generation.
	Generation uint64    `json:"generation,omitempty"`
	Former     []byte    `json:"former,omitempty"`   // the one of before, by the root, while it is shredded
	KeyedAt    time.Time `json:"keyedAt,omitzero"`   // when Shred made the present one
	Restored   uint64    `json:"restored,omitempty"` // that which a backup brought: it may be any of before
	RootedFrom uint64    `json:"rooted,omitempty"`   // the first that the present root ever sealed
	RootedAt   time.Time `json:"rootedAt,omitzero"`  // when RotateRoot last sealed it
}

// A backupMark tells whether a backup holds an instance as it is.
type backupMark struct {
	At     time.Time `json:"at"`
	Digest []byte    `json:"digest"` // of the records that the backup holds
}

// openHome opens the default instance and makes it, if this key store is new.
func openHome(ctx context.Context, s keystore.Store, root Root, now time.Time) (*instanceEntry, error) {
	name := instanceItem(DefaultInstance)
	item, err := s.Get(ctx, name)
	if errors.Is(err, keystore.ErrNotFound) {
		var home *instanceEntry
		if home, err = createHome(ctx, s, root, now); !errors.Is(err, errStale) {
			return home, err
		}
		item, err = s.Get(ctx, name)
	}
	if errors.Is(err, keystore.ErrNotFound) {
		return nil, &refusal{op: opOpen, cond: ErrTampered, text: "there are keys, and no record of the default instance",
			hint: "The service never removes that record. Keep the store as evidence, and bring back a copy of all of it that you trust."}
	}
	if err != nil {
		return nil, unavailable(opOpen, "", "the key store", err)
	}
	return unsealHome(opOpen, item, root)
}

// createHome makes the default instance of a new key store. It is errStale where
// somebody else was quicker, and where the store holds keys and so is not new.
func createHome(ctx context.Context, s keystore.Store, root Root, now time.Time) (*instanceEntry, error) {
	for _, err := range s.List(ctx, keySegment, "") {
		if err != nil {
			return nil, unavailable(opOpen, "", "the key store", err)
		}
		return nil, errStale
	}
	rec := instanceRecord{ID: DefaultInstance, Store: randomBytes(16), CreatedAt: now, Seq: 1}
	keys, err := rec.newKey(opOpen, root)
	if err != nil {
		return nil, err
	}
	value, err := keys.Encode(instanceItem(rec.ID), rec)
	if err != nil {
		return nil, written(opOpen, "", err)
	}
	version, err := s.Put(ctx, instanceItem(rec.ID), "", value)
	return &instanceEntry{keys: keys, rec: rec, version: version}, written(opOpen, "", err)
}

// unsealHome opens the record of the default instance with root.
func unsealHome(op Op, item keystore.Item, root Root) (*instanceEntry, error) {
	var rec, authentic instanceRecord
	tampered := tamperedInstance(op, DefaultInstance)
	body, ok := sealing.Peek(DefaultInstance, item.Value)
	if !ok || json.Unmarshal(body, &rec) != nil || rec.ID != DefaultInstance || len(rec.Store) != 16 {
		return nil, tampered
	}
	keys, err := rec.open(op, root)
	if err != nil {
		return nil, err
	}
	if keys.Decode(instanceItem(DefaultInstance), item.Value, &authentic) != nil {
		return nil, tampered
	}
	return &instanceEntry{keys: keys, rec: authentic, version: item.Version}, nil
}

// newKey gives an instance its key, sealed by root.
func (rec *instanceRecord) newKey(op Op, root Root) (*sealing.Keys, error) {
	return rec.setKey(op, root, randomBytes(sealing.KeySize))
}

// setKey gives an instance a key, sealed by root, and wipes key.
func (rec *instanceRecord) setKey(op Op, root Root, key []byte) (_ *sealing.Keys, err error) {
	defer clear(key)
	if rec.Sealed, err = sealUnder(root, key, sealing.RootContext(rec.Store, rec.ID)); err != nil {
		return nil, notSealed(op, err)
	}
	return sealing.Derive(rec.ID, rec.Store, rec.Generation, key)
}

// key opens the instance key with root. The caller wipes it.
func (rec *instanceRecord) key(op Op, root Root) ([]byte, error) {
	return rec.unseal(op, root, rec.Sealed)
}

// unseal opens what the root sealed. The caller wipes it.
func (rec *instanceRecord) unseal(op Op, root Root, sealed []byte) ([]byte, error) {
	key, err := root.Decrypt(sealed, sealing.RootContext(rec.Store, rec.ID))
	if err != nil || len(key) != sealing.KeySize {
		return nil, refuseInstance(op, rec.named(), ErrRoot, "", err)
	}
	return key, nil
}

// resealFormer seals the former key of an instance under the next root.
func (rec *instanceRecord) resealFormer(op Op, old, next Root) error {
	key, err := rec.unseal(op, old, rec.Former)
	if err != nil {
		return err
	}
	defer clear(key)
	if rec.Former, err = sealUnder(next, key, sealing.RootContext(rec.Store, rec.ID)); err != nil {
		return notSealed(op, err)
	}
	return nil
}

// notSealed refuses a root that does not seal an instance key.
func notSealed(op Op, cause error) error {
	return &refusal{op: op, cond: ErrRoot, text: "sealing the instance key", cause: cause,
		hint: "Give a root that can be reached, and that opens what it seals."}
}

// named is the ID of an instance in errors: who never made another need not know of the default.
func (rec *instanceRecord) named() string {
	if rec.ID == DefaultInstance {
		return ""
	}
	return rec.ID
}

// open opens an instance with root.
func (rec *instanceRecord) open(op Op, root Root) (*sealing.Keys, error) {
	key, err := rec.key(op, root)
	if err != nil {
		return nil, err
	}
	keys, err := sealing.Derive(rec.ID, rec.Store, rec.Generation, key)
	if err != nil || len(rec.Former) == 0 {
		return keys, err
	}
	if key, err = rec.unseal(op, root, rec.Former); err != nil {
		return nil, err
	}
	former, err := sealing.Derive(rec.ID, rec.Store, rec.Generation-1, key)
	return keys.WithFormer(former), err
}

// state is the one place that turns an instance's facts into its state.
func (rec *instanceRecord) state(now time.Time) InstanceState {
	switch {
	case !rec.ReleasedAt.IsZero():
		return InstanceReleased
	case rec.ExpiresAt.IsZero() || now.Before(rec.ExpiresAt):
		return InstanceActive
	case now.Before(rec.releasesAt()):
		return InstanceExpired
	default:
		return InstanceReleased
	}
}

// releasesAt is when the grace is over; zero: never.
func (rec *instanceRecord) releasesAt() time.Time {
	if rec.ExpiresAt.IsZero() {
		return time.Time{}
	}
	return rec.ExpiresAt.Add(GraceDays * 24 * time.Hour)
}

func (rec *instanceRecord) describe(now time.Time) Instance {
	return Instance{
		ID: rec.ID, Name: rec.Name, State: rec.state(now), Protection: rec.Protection, CreatedAt: rec.CreatedAt,
		ExpiresAt: rec.ExpiresAt, ReleasesAt: rec.releasesAt(), ReleasedAt: rec.ReleasedAt,
		Protected: rec.Protected, ProtectedWhy: rec.ProtectedWhy, BackedUpAt: rec.backedUpAt(),
		KeyedAt: rec.KeyedAt, Shredding: len(rec.Former) > 0, RootedAt: rec.RootedAt,
	}
}

func (rec *instanceRecord) backedUpAt() time.Time {
	if rec.Backup == nil {
		return time.Time{}
	}
	return rec.Backup.At
}

// equal tells whether two records would be written alike.
func (rec *instanceRecord) equal(other *instanceRecord) bool {
	a, errA := json.Marshal(rec)
	b, errB := json.Marshal(other)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
