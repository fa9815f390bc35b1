package kms

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

// instanceRecord is the item of an instance. That of the default instance is authenticated
// under the keys that are derived from the instance key, which it holds sealed; those of
// the others under the keys of the default instance, so that they can be read without the
// root. If it has no seal the instance is released, and all that lived in it is noise.
type instanceRecord struct {
	ID           string      `json:"id"`
	Store        []byte      `json:"store"` // 16 random bytes, made with the key store
	CreatedAt    time.Time   `json:"created"`
	Seq          uint64      `json:"seq"`
	Seals        []rootSeal  `json:"seals,omitempty"`  // the instance key, ascending by the root; none: it was destroyed
	Rooted       uint64      `json:"rooted,omitempty"` // the generation of the root that RotateRoot brought it to
	Name         string      `json:"name,omitempty"`
	Protection   Protection  `json:"protection,omitempty"` // of its keys; "": either
	ExpiresAt    time.Time   `json:"expiresAt,omitzero"`
	Protected    bool        `json:"protected,omitempty"`
	ProtectedWhy string      `json:"protectedWhy,omitempty"`
	ReleaseOnly  bool        `json:"releaseOnly,omitempty"` // its protection does not cover its keys
	ReleasedAt   time.Time   `json:"releasedAt,omitzero"`   // when its key was destroyed
	OverSeenAt   time.Time   `json:"overSeenAt,omitzero"`   // when Maintain first saw its grace over
	ReleasedWhy  string      `json:"releasedWhy,omitempty"` // that the caller gave
	SealedBy     uint64      `json:"sealedBy,omitempty"`    // the last generation of the root that sealed the key which was destroyed
	Told         Notice      `json:"told,omitempty"`        // the last notice of its end
	Backup       *backupMark `json:"backup,omitempty"`      // of the last backup

	// Of its instance keys, each of which is a generation.
	Generation uint64    `json:"generation,omitempty"`
	Check      []byte    `json:"check,omitempty"`    // of the present one; it stays when that is destroyed
	Mixed      bool      `json:"mixed,omitempty"`    // some items are of a key that was destroyed while it was shredded
	KeyedAt    time.Time `json:"keyedAt,omitzero"`   // when Shred made the present one
	Restored   uint64    `json:"restored,omitempty"` // that which a backup brought: it may be any of before
	RootedAt   time.Time `json:"rootedAt,omitzero"`  // when RotateRoot last sealed it
}

// A backupMark tells whether a backup holds an instance as it is.
type backupMark struct {
	At     time.Time `json:"at"`
	Digest []byte    `json:"digest"` // of what the backup holds, as a digest makes it
}

// A rootSeal is an instance key as one root sealed it. The roots of a key store have generations, by
// which it shows without a root which of them opens what.
type rootSeal struct {
	Root   uint64    `json:"root"`             // the generation of the root
	Since  uint64    `json:"since,omitempty"`  // the generation in which this very root came
	Key    []byte    `json:"key"`              // the instance key
	Former []byte    `json:"former,omitempty"` // the previous one, while the instance is shredded
	From   uint64    `json:"from,omitempty"`   // the first generation of the instance key that this root ever sealed
	At     time.Time `json:"at,omitzero"`      // when RotateRoot made it; zero: it was made with the instance
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
	return unsealHome(opOpen, item, []Root{root})
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
	keys, err := rec.newKey(opOpen, []sealer{{root: root}})
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

// unsealHome opens the record of the default instance with one of the roots.
func unsealHome(op Op, item keystore.Item, roots []Root) (*instanceEntry, error) {
	var rec, authentic instanceRecord
	tampered := tamperedInstance(op, DefaultInstance)
	body, ok := sealing.Peek(DefaultInstance, item.Value)
	if !ok || json.Unmarshal(body, &rec) != nil || rec.ID != DefaultInstance || len(rec.Store) != 16 {
		return nil, tampered
	}
	keys, err := rec.open(op, roots)
	if err != nil {
		return nil, err
	}
	if keys.Decode(instanceItem(DefaultInstance), item.Value, &authentic) != nil {
		return nil, tampered
	}
	return &instanceEntry{keys: keys, rec: authentic, version: item.Version}, nil
}

// newKey gives an instance a key, sealed by each of the roots.
func (rec *instanceRecord) newKey(op Op, by []sealer) (*sealing.Keys, error) {
	return rec.setKey(op, by, randomBytes(sealing.KeySize))
}

// setKey gives an instance a key, sealed by each of the roots, and wipes key. The seals that there
// were say what these roots have sealed before, and of a key that is replaced they become the former.
func (rec *instanceRecord) setKey(op Op, by []sealer, key []byte) (*sealing.Keys, error) {
	defer clear(key)
	was := rec.Seals
	rec.Seals = nil
	for _, s := range by {
		seal := rootSeal{Root: s.generation}
		if i := slices.IndexFunc(was, func(w rootSeal) bool { return w.Root == s.generation }); i >= 0 {
			seal.Since, seal.From, seal.At, seal.Former = was[i].Since, was[i].From, was[i].At, was[i].Key
		}
		var err error
		if seal.Key, err = rec.sealUnder(op, s.root, key); err != nil {
			return nil, err
		}
		rec.Seals = append(rec.Seals, seal)
		rec.Rooted = max(rec.Rooted, s.generation)
	}
	keys, err := sealing.Derive(rec.ID, rec.Store, rec.Generation, key)
	if err == nil {
		rec.Check = keys.Check()
	}
	return keys, err
}

// oldest is the generation of the root that opens the record of the default instance. While the root
// is rotated there are two, and newest is that of the next.
func (rec *instanceRecord) oldest() uint64 { return rec.Seals[0].Root }
func (rec *instanceRecord) newest() uint64 { return rec.Seals[len(rec.Seals)-1].Root }

// sealedFrom is the first generation of the instance key that any root of the record ever sealed.
func (rec *instanceRecord) sealedFrom() uint64 {
	if rec.destroyed() {
		return 0
	}
	return slices.MinFunc(rec.Seals, func(a, b rootSeal) int { return int(int64(a.From) - int64(b.From)) }).From
}

// lost reports whether an instance was never made: its record came too late for a rotation of the
// root, after which no root older than oldest opens the store, and so its creation failed. See secure.
func (rec *instanceRecord) lost(oldest uint64) bool {
	return rec.ID != DefaultInstance && !rec.destroyed() && rec.Rooted < oldest
}

// unseal opens the instance key and, while the instance is shredded, the former one. The caller wipes
// both.
func (rec *instanceRecord) unseal(op Op, roots []Root) (key, former []byte, err error) {
	for _, by := range slices.Backward(rec.Seals) {
		for _, root := range roots {
			if key, err = rec.unsealBy(root, by.Key); err != nil {
				continue
			}
			if by.Former != nil {
				former, err = rec.unsealBy(root, by.Former)
			}
			if err == nil {
				return key, former, nil
			}
			clear(key)
		}
	}
	return nil, nil, refuseInstance(op, rec.named(), ErrRoot, "", err)
}

func (rec *instanceRecord) unsealBy(root Root, sealed []byte) ([]byte, error) {
	key, err := root.Decrypt(sealed, sealing.RootContext(rec.Store, rec.ID))
	if err == nil && len(key) != sealing.KeySize {
		clear(key)
		return nil, errors.New("kms: what the root sealed is no instance key")
	}
	return key, err
}

// openedBy returns the first of the roots that opens a seal, or nil and what the last one said.
func (rec *instanceRecord) openedBy(roots []Root, s *rootSeal) (_ Root, err error) {
	for _, root := range roots {
		var key []byte
		if key, err = rec.unsealBy(root, s.Key); err == nil {
			clear(key)
			return root, nil
		}
	}
	return nil, err
}

// opens reports whether one of the roots opens a seal.
func (rec *instanceRecord) opens(s *rootSeal, roots ...Root) bool {
	_, err := rec.openedBy(roots, s)
	return err == nil
}

func (rec *instanceRecord) sealUnder(op Op, root Root, key []byte) ([]byte, error) {
	sealed, err := sealUnder(root, key, sealing.RootContext(rec.Store, rec.ID))
	if err != nil {
		return nil, notSealed(op, err)
	}
	return sealed, nil
}

// carry adds a seal by a further root, unless there is one. Again says that what this root opens a
// previous one has opened, too.
func (rec *instanceRecord) carry(op Op, roots []Root, next sealer, again bool, now time.Time) error {
	key, former, err := rec.unseal(op, roots)
	if err != nil {
		return err
	}
	defer clear(key)
	defer clear(former)
	seal := rootSeal{Root: next.generation, Since: next.generation, From: rec.Generation, At: now}
	if seal.Key, err = rec.sealUnder(op, next.root, key); err != nil {
		return err
	}
	if former != nil {
		seal.From--
		if seal.Former, err = rec.sealUnder(op, next.root, former); err != nil {
			return err
		}
	}
	if again {
		was := rec.Seals[max(0, slices.IndexFunc(rec.Seals, func(s rootSeal) bool { return rec.opens(&s, next.root) }))]
		seal.Since, seal.From, seal.At = was.Since, was.From, was.At
	}
	rec.Seals, rec.Rooted = append(slices.Clip(rec.Seals), seal), next.generation
	return nil
}

// drop takes away the seals by previous roots, if there is one by that of a generation.
func (rec *instanceRecord) drop(generation uint64) {
	i := slices.IndexFunc(rec.Seals, func(s rootSeal) bool { return s.Root == generation })
	if i <= 0 {
		return
	}
	rec.Seals = rec.Seals[i:]
	if at := rec.Seals[0].At; !at.IsZero() {
		rec.RootedAt = at
	}
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

// open opens an instance with one of the roots.
func (rec *instanceRecord) open(op Op, roots []Root) (*sealing.Keys, error) {
	key, former, err := rec.unseal(op, roots)
	if err != nil {
		return nil, err
	}
	keys, err := sealing.Derive(rec.ID, rec.Store, rec.Generation, key)
	if err != nil || former == nil {
		return keys, err
	}
	was, err := sealing.Derive(rec.ID, rec.Store, rec.Generation-1, former)
	return keys.WithFormer(was), err
}

// destroyed reports whether the instance key is gone.
func (rec *instanceRecord) destroyed() bool { return len(rec.Seals) == 0 }

// shredding reports whether a Shred of the instance was begun and not finished.
func (rec *instanceRecord) shredding() bool {
	return slices.ContainsFunc(rec.Seals, func(s rootSeal) bool { return s.Former != nil })
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

// coversKeys reports whether the deletion protection of an instance is that of its keys, too.
func (rec *instanceRecord) coversKeys() bool { return rec.Protected && !rec.ReleaseOnly }

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
		ExpiresAt: rec.ExpiresAt, ReleasesAt: rec.releasesAt(), ReleasedAt: rec.ReleasedAt, ReleasedWhy: rec.ReleasedWhy,
		Protected: rec.Protected, ProtectedWhy: rec.ProtectedWhy, ReleaseOnly: rec.ReleaseOnly, BackedUpAt: rec.backedUpAt(),
		KeyedAt: rec.KeyedAt, Shredding: rec.shredding(), RootedAt: rec.RootedAt,
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
