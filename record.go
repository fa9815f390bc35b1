package kms

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"slices"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
)

// A record is what the key store holds of a key: an item of package sealing. It stores facts; the
// state follows from them and the clock.
type record struct {
	// What every use of the key reads stands together.
	keys          *sealing.Keys // where it lives
	ID            keyid.ID      `json:"id"`
	Disabled      bool          `json:"disabled,omitempty"`
	Protected     bool          `json:"protected,omitempty"`
	Primary       uint32        `json:"primary,omitempty"`
	Versions      []keyVersion  `json:"versions,omitempty"`
	DeleteAt      time.Time     `json:"deleteAt,omitzero"`
	DestroyedAt   time.Time     `json:"destroyedAt,omitzero"`
	MaterialUntil time.Time     `json:"materialUntil,omitzero"` // when imported material expires
	Protection    Protection    `json:"protection"`
	Usage         Usage         `json:"usage"`
	Origin        Origin        `json:"origin"`
	Owner         Owner         `json:"owner,omitempty"`
	BrownUntil    time.Time     `json:"brownUntil,omitzero"`  // until when a share of uses is refused
	BrownShare    uint32        `json:"brownShare,omitempty"` // that share, in millionths
	RotationDays  int32         `json:"rotationDays,omitempty"`

	Seq          uint64            `json:"seq"` // grows by one with each change: of two records the later shows
	Spec         Spec              `json:"spec"`
	Description  string            `json:"description,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`
	CreatedAt    time.Time         `json:"created"`
	DueSeenAt    time.Time         `json:"dueSeenAt,omitzero"` // when Maintain first saw the deletion date passed
	ProtectedWhy string            `json:"protectedWhy,omitempty"`
	Dependents   []Dependent       `json:"dependents,omitempty"`
	Doomed       []keyVersion      `json:"doomed,omitempty"`    // what the provider has yet to destroy
	Service      string            `json:"service,omitempty"`   // the code of its owner
	DisabledAt   time.Time         `json:"disabledAt,omitzero"` // since when it is, where that is known

	RetiredBefore  uint32    `json:"retiredBefore,omitempty"`  // versions below it were given up for good
	RetiringBefore uint32    `json:"retiringBefore,omitempty"` // versions below it are suspended until RetireAt
	RetireAt       time.Time `json:"retireAt,omitzero"`
	RetireSeenAt   time.Time `json:"retireSeenAt,omitzero"` // when Maintain first saw that date passed
	RetireWhy      string    `json:"retireWhy,omitempty"`
	RunsOutTold    bool      `json:"runsOutTold,omitempty"` // that its policy comes to the limit of versions

	Forgotten *forgetting `json:"forgotten,omitempty"` // of a tombstone: when it had nothing any more that leads to material

	// Of a tombstone: what was sealed in the record never led to plaintext, and it had versions in
	// another system.
	Bare      bool `json:"bare,omitempty"`
	Elsewhere bool `json:"elsewhere,omitempty"`

	Old []oldVersion `json:"old,omitempty"` // versions that it had in another system
	Was *oldProof    `json:"was,omitempty"` // of a tombstone: that the last of these was known

	// Of imported material; the end of its life is above.
	Shred       []byte `json:"shred,omitempty"`       // sealed; made at the first import, destroyed with the key
	Fingerprint []byte `json:"fingerprint,omitempty"` // keyed by it; of the only material that may be imported

	was *record // what it was cloned from; nil: it was read
}

// A keyVersion is one version of a key's material, sealed.
type keyVersion struct {
	Version   uint32    `json:"version"`
	CreatedAt time.Time `json:"created"`
	Sealed    []byte    `json:"sealed"`
}

// id is the ID as callers see it.
func (r *record) id() string { return r.ID.String() }

func (r *record) facts() facts {
	return facts{material: len(r.Versions) > 0 || r.Owner == OwnerLegacy, until: r.MaterialUntil, disabled: r.Disabled, deleteAt: r.DeleteAt, destroyed: !r.DestroyedAt.IsZero()}
}

// version returns the index of a key version, or -1.
func (r *record) version(n uint32) int {
	for i := range r.Versions {
		if r.Versions[i].Version == n {
			return i
		}
	}
	return -1
}

// hasOthers tells whether there are versions besides the one that encrypts.
func (r *record) hasOthers() bool {
	n := len(r.Versions)
	return n > 1 || (n == 1 && r.Versions[0].Version != r.Primary)
}

// lastVersion is the highest number that was given to a version. Versions that were retired count,
// for no number is given again.
func (r *record) lastVersion() uint32 {
	last := max(r.RetiredBefore, 1) - 1
	if n := len(r.Versions); n > 0 {
		last = max(last, r.Versions[n-1].Version)
	}
	return last
}

// keyItem and its kin are the names of items.
func keyItem(id string) string      { return keySegment + id }
func instanceItem(id string) string { return instanceSegment + id }

const (
	keySegment      = "key/"
	aliasSegment    = "alias/"
	instanceSegment = "instance/"
)

// decodeRecord reads the record of the key id. What was written under the former key of an
// instance that is being shredded is sealed again in memory, for the present one.
func decodeRecord(keys *sealing.Keys, id keyid.ID, text string, value []byte) (*record, error) {
	if former := keys.Former(); former != nil {
		if _, present := keys.Wrote(keyItem(text), value); !present {
			r, err := decodeRecord(former, id, text, value)
			if err != nil {
				return nil, err
			}
			return r.moveTo(keys)
		}
	}
	r := &record{keys: keys}
	if err := keys.Decode(keyItem(text), value, r); err != nil {
		return nil, err
	}
	if r.ID != id {
		return nil, sealing.ErrItem
	}
	r.Spec, r.Usage, r.Protection, r.Origin = constant(r.Spec), constant(r.Usage), constant(r.Protection), constant(r.Origin)
	if len(r.Versions) > 0 { // the decoder leaves room for more
		r.Versions = append(make([]keyVersion, 0, len(r.Versions)), r.Versions...)
	}
	return r, nil
}

// clone returns a copy whose fields may be replaced. What they refer to is shared.
func (r *record) clone() *record {
	c := *r
	c.was = r
	return &c
}

// equal tells whether two records would be written alike.
func (r *record) equal(other *record) bool {
	a, errA := json.Marshal(r)
	b, errB := json.Marshal(other)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// settle drops the note that a date has passed, where it has not: the clock was wrong, or what
// was due then was cancelled.
func (r *record) settle(now time.Time) {
	if !r.facts().due(now) {
		r.DueSeenAt = time.Time{}
	}
	if !r.retireDue(now) {
		r.RetireSeenAt = time.Time{}
	}
}

// constants are the strings that most records hold, so that a record in memory need not have its
// own.
var constants = func() map[string]string {
	all := map[string]string{}
	for spec := range specs {
		all[string(spec)] = string(spec)
	}
	for _, s := range []string{
		string(UsageEncryptDecrypt), string(UsageSignVerify), string(UsageGenerateVerifyMac),
		string(ProtectionSoftware), string(ProtectionHSM), string(OriginKMS), string(OriginExternal),
	} {
		all[s] = s
	}
	return all
}()

// constant is s, in the memory of the constant where it is one.
func constant[S ~string](s S) S {
	if known, ok := constants[string(s)]; ok {
		return S(known)
	}
	return s
}

// Tombstone says that a key was, and is deleted. A Restore into another key store is told of
// them, so that an old backup brings back no key that was deleted after it.
type Tombstone struct {
	KeyID     string    `json:"key"`
	Instance  string    `json:"instance"`
	DeletedAt time.Time `json:"deletedAt"` // the deletion date
}

// Tombstones yields the keys of all instances that are deleted, whether or not they were
// purged yet, ascending by ID. Those of instances that were released cannot be read, and are not
// among them. A key whose record was changed behind the service's back is yielded with its
// ID and ErrTampered, and the loop goes on; any other error ends it.
func (m *Manager) Tombstones(ctx context.Context) iter.Seq2[Tombstone, error] {
	return func(yield func(Tombstone, error) bool) {
		yield = endedIn(ctx, yield)
		var err error
		c := m.begin(OpListTombstones)
		defer c.end(ctx, &err)
		if err = c.authorize(ctx, Request{}); err != nil {
			yield(Tombstone{}, err)
			return
		}
		for item, failed := range m.scan(ctx, c, "") {
			if item == nil {
				err = failed
				yield(Tombstone{}, err)
				return
			}
			if failed != nil {
				if !yield(Tombstone{KeyID: item.text}, failed) {
					return
				}
				continue
			}
			if t, gone := item.record.tombstone(c.now()); gone && !yield(t, nil) {
				return
			}
		}
	}
}

// tombstone is what is told of a key that is deleted.
func (r *record) tombstone(now time.Time) (_ Tombstone, gone bool) {
	t := Tombstone{KeyID: r.id(), Instance: r.keys.ID(), DeletedAt: r.DeleteAt}
	if t.DeletedAt.IsZero() { // it went with its instance
		t.DeletedAt = r.DestroyedAt
	}
	return t, r.facts().state(now) == Deleted
}

// A forgetting is that the last material went from a record, and the generation of the
// instance key that had sealed it at the latest: what an older generation opens is older media.
type forgetting struct {
	At         time.Time `json:"at"`
	Generation uint64    `json:"generation,omitempty"`
}

// forget notes that nothing is left in a tombstone that leads to material.
func (r *record) forget(now time.Time) {
	r.Doomed = nil
	if !r.DestroyedAt.IsZero() {
		r.Forgotten = &forgetting{At: now, Generation: r.keys.Generation()}
	}
}

// forgotten is when nothing was left. Tombstones of before there was a note of it are of the
// first generation: nothing had another.
func (r *record) forgotten() forgetting {
	if r.Forgotten == nil {
		return forgetting{At: r.DestroyedAt}
	}
	return *r.Forgotten
}

// moveTo returns a sound record with everything that is sealed in it sealed again, for other keys.
func (r *record) moveTo(keys *sealing.Keys) (*record, error) {
	moved := r.clone()
	moved.keys = keys
	move := func(p sealing.Place, sealed *[]byte) error { return reseal(r.keys, keys, p, sealed) }
	for _, list := range []*[]keyVersion{&moved.Versions, &moved.Doomed} {
		*list = slices.Clone(*list)
		for i := range *list {
			v := &(*list)[i]
			if err := move(sealing.Material(r.ID, v.Version), &v.Sealed); err != nil {
				return nil, err
			}
		}
	}
	moved.Old = slices.Clone(moved.Old)
	for i := range moved.Old {
		v := &moved.Old[i]
		if err := move(v.place(r.ID, i), &v.Sealed); err != nil {
			return nil, err
		}
	}
	if r.Shred != nil {
		if err := move(sealing.ShredSecret(r.ID), &moved.Shred); err != nil {
			return nil, err
		}
	}
	return moved, nil
}

// reseal seals with to what from has sealed, for the same place.
func reseal(from, to *sealing.Keys, p sealing.Place, sealed *[]byte) error {
	secret, err := from.Open(p, *sealed)
	defer clear(secret)
	if err != nil {
		return errors.AssertionFailedf("kms: what was sound in a backup does not open")
	}
	*sealed, err = to.Seal(p, secret)
	return err
}
