package kms

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/legacy"
)

// MaxLegacyCiphertext is the most that Decrypt takes of another system's ciphertexts, in
// bytes: 16 KiB.
const MaxLegacyCiphertext = 16 << 10

// sources are the keys of other systems, as they were when the Manager was opened, and the
// sources that know their ciphertexts. A key that has a record in the key store is governed
// by that, and what a source has of it counts no more.
type sources struct {
	all   []legacy.Source
	keys  map[keyid.ID]*sourceKey
	ids   []keyid.ID                // ascending
	where map[oldLocator][]keyid.ID // who may have made a ciphertext
}

// A sourceKey is a key that a source has.
type sourceKey struct {
	source legacy.Source
	key    legacy.Key
	opened []atomic.Pointer[legacy.Opener] // one for each version
}

// oldLocator is what a ciphertext of another system tells of its key version.
type oldLocator struct{ scheme, locator string }

// item is the name of the item that tells whose keys of the key store have it.
func (l oldLocator) item() string { return legacySegment + l.scheme + "/" + l.locator }

const legacySegment = "legacy/"

// readSources asks the sources for their keys.
func readSources(ctx context.Context, all []legacy.Source) (*sources, error) {
	s := &sources{all: all, keys: map[keyid.ID]*sourceKey{}, where: map[oldLocator][]keyid.ID{}}
	schemes := map[string]bool{}
	for _, source := range all {
		if absent(source) || !legacy.ValidScheme(source.Scheme()) || schemes[source.Scheme()] {
			return nil, invalid(opOpen, "a source of Config.Legacy is nil or has no valid scheme, or two are of one scheme")
		}
		schemes[source.Scheme()] = true
		for key, err := range source.Keys(ctx) {
			if err != nil {
				return nil, unavailable(opOpen, "", "a source of Config.Legacy", err)
			}
			if err := s.add(source, key); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(s.ids, func(a, b keyid.ID) int { return slices.Compare(a[:], b[:]) })
	return s, nil
}

func (s *sources) add(source legacy.Source, key legacy.Key) error {
	id, ok := keyid.Parse(key.ID)
	if err := key.Check(); err != nil || !ok {
		return refuseBecause(opOpen, "", ErrInvalid, "a key of Config.Legacy is not as package legacy wants it", err)
	}
	if s.keys[id] != nil {
		return invalid(opOpen, "two keys of Config.Legacy have one ID")
	}
	s.keys[id] = &sourceKey{source, key, make([]atomic.Pointer[legacy.Opener], len(key.Versions))}
	s.ids = append(s.ids, id)
	for _, v := range key.Versions {
		at := oldLocator{source.Scheme(), v.Locator}
		if !slices.Contains(s.where[at], id) {
			s.where[at] = append(s.where[at], id)
		}
	}
	return nil
}

// record is what a key of a source looks like. It is in no key store.
func (k *sourceKey) record(id keyid.ID, home *sealing.Keys) *record {
	r := &record{
		ID: id, keys: home, Owner: OwnerLegacy, Spec: SpecAES256, Usage: UsageEncryptDecrypt,
		Origin: OriginKMS, Protection: ProtectionSoftware, Description: k.key.Description, CreatedAt: k.key.CreatedAt,
	}
	if k.key.Imported {
		r.Origin = OriginExternal
	}
	for _, v := range k.key.Versions {
		r.Old = append(r.Old, oldVersion{Scheme: k.source.Scheme(), Locator: v.Locator, CreatedAt: v.CreatedAt})
	}
	return r
}

// An oldVersion is a version that a key had in another system. It opens what it made there.
type oldVersion struct {
	Scheme    string    `json:"scheme"`
	Locator   string    `json:"locator"`
	CreatedAt time.Time `json:"created,omitzero"`
	Sealed    []byte    `json:"sealed,omitempty"` // the material; none while it is the source's
}

func (v *oldVersion) at() oldLocator { return oldLocator{v.Scheme, v.Locator} }

// place is where the material belongs, if it is the i-th version that the key had.
func (v *oldVersion) place(id keyid.ID, i int) sealing.Place {
	return sealing.Legacy(id, i, v.Scheme, v.Locator)
}

// locate is all that a ciphertext tells of its key version, by any source.
func (s *sources) locate(ciphertext []byte) (found []oldLocator) {
	if len(ciphertext) > MaxLegacyCiphertext {
		return nil
	}
	for _, source := range s.all {
		for _, locator := range source.Locate(ciphertext) {
			if legacy.ValidLocator(locator) {
				found = append(found, oldLocator{source.Scheme(), locator})
			}
		}
	}
	return found
}

func (s *sources) scheme(name string) legacy.Source {
	for _, source := range s.all {
		if source.Scheme() == name {
			return source
		}
	}
	return nil
}

// makers are the keys that may have made a ciphertext of another system, those of the key
// store first.
func (m *Manager) makers(ctx context.Context, c *call, at []oldLocator) (ids []keyid.ID, err error) {
	add := func(more []keyid.ID) {
		for _, id := range more {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	for _, l := range at {
		kept, _, err := m.loadMakers(ctx, c, l)
		if err != nil {
			return nil, err
		}
		add(kept.Keys)
	}
	for _, l := range at {
		add(m.legacy.where[l])
	}
	return ids, nil
}

// makersRecord is the item of a locator: whose keys of the key store have it.
type makersRecord struct {
	Keys []keyid.ID `json:"keys"`
	Seq  uint64     `json:"seq"`
}

func (m *Manager) loadMakers(ctx context.Context, c *call, at oldLocator) (rec makersRecord, version keystore.Version, err error) {
	tampered := refuseBecause(c.op, "", ErrTampered, "the record of a locator", nil)
	version, err = m.getHome(ctx, c, at.item(), "", &rec, tampered)
	return rec, version, err
}

// addMaker notes that a key of the key store has a locator. It comes before the key itself: a
// note of a key that is not there does no harm.
func (m *Manager) addMaker(ctx context.Context, c *call, at oldLocator, id keyid.ID) error {
	return c.retry(ctx, "", func() error {
		rec, version, err := m.loadMakers(ctx, c, at)
		if err != nil || slices.Contains(rec.Keys, id) {
			return err
		}
		rec.Keys, rec.Seq = append(rec.Keys, id), rec.Seq+1
		err = m.putHome(ctx, c, at.item(), version, rec)
		if errors.Is(err, sealing.ErrTooLarge) {
			return unsupported(c.op, id.String(), "too many keys have one locator",
				"Take the keys over that share a locator into several key stores, or give them other locators in the source of Config.Legacy.")
		}
		return written(c.op, "", err)
	})
}

// unlisted yields the keys of sources whose ID sorts behind after and, unless last is empty, before
// last: those that have no record in the key store, and those that got one since its list
// began, which does not have them.
func (m *Manager) unlisted(ctx context.Context, c *call, after, last string) (found []*scanned, err error) {
	from, listed := slices.BinarySearchFunc(m.legacy.ids, after, func(id keyid.ID, text string) int { return strings.Compare(id.String(), text) })
	if listed {
		from++
	}
	for _, id := range m.legacy.ids[from:] {
		if last != "" && id.String() >= last {
			break
		}
		probe := *c
		e, err := m.load(ctx, &probe, id)
		switch {
		case refusedAs(err, ErrNotFound), refusedAs(err, ErrTampered), refusedAs(err, ErrRoot):
		case err != nil:
			return nil, err
		default:
			home, err := m.instanceOf(ctx, &probe, e.record.keys.ID())
			if err != nil {
				return nil, err
			}
			found = append(found, &scanned{record: e.record, home: home})
		}
	}
	return found, nil
}

// An oldProof is what a tombstone keeps of the life of its key in another system: that the material
// of the last version there was known. It leads to no material.
type oldProof struct {
	Scheme  string `json:"scheme"`
	Locator string `json:"locator"`
	MAC     []byte `json:"mac"`
}

func (p *oldProof) sound() bool {
	return legacy.ValidScheme(p.Scheme) && legacy.ValidLocator(p.Locator) && len(p.MAC) == sha256.Size
}

// proof is that of a key which is about to be a tombstone; nil: it had no life in another system.
func (r *record) proof() *oldProof {
	last := len(r.Old) - 1
	if last < 0 {
		return r.Was
	}
	v := &r.Old[last]
	material, err := r.keys.Open(v.place(r.ID, last), v.Sealed)
	defer clear(material)
	if err != nil {
		return nil
	}
	return &oldProof{Scheme: v.Scheme, Locator: v.Locator, MAC: proofMAC(r.ID, material)}
}

// proof is that of a key of a source.
func (k *sourceKey) proof(id keyid.ID) *oldProof {
	v := &k.key.Versions[len(k.key.Versions)-1]
	material := v.Material()
	defer clear(material)
	return &oldProof{Scheme: k.source.Scheme(), Locator: v.Locator, MAC: proofMAC(id, material)}
}

func proofMAC(id keyid.ID, material []byte) []byte {
	h := hmac.New(sha256.New, material)
	h.Write(sealing.Join([]byte("keyhold old material v1"), id[:]))
	return h.Sum(nil)
}

// knows reports whether a version of the key has that locator, and material that fits.
func (k *sourceKey) knows(scheme, locator string, fits func(material []byte) bool) bool {
	return scheme == k.source.Scheme() && slices.ContainsFunc(k.key.Versions, func(v legacy.Version) bool {
		material := v.Material()
		defer clear(material)
		return v.Locator == locator && fits(material)
	})
}

// made reports whether a record can be of the key of a source: every version that it had in another
// system is one of that key, with the same material.
func (k *sourceKey) made(r *record) bool {
	if w := r.Was; w != nil {
		return k.knows(w.Scheme, w.Locator, func(material []byte) bool { return hmac.Equal(w.MAC, proofMAC(r.ID, material)) })
	}
	for i := range r.Old {
		v := &r.Old[i]
		sealed, err := r.keys.Open(v.place(r.ID, i), v.Sealed)
		same := err == nil && k.knows(v.Scheme, v.Locator, func(material []byte) bool { return hmac.Equal(sealed, material) })
		clear(sealed)
		if !same {
			return false
		}
	}
	return len(r.Old) > 0
}
