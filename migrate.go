package kms

import (
	"context"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
)

// MigrateLegacyKey takes a key of another system over, from Config.Legacy into an instance:
// "" is the default one. The key keeps its ID and all its versions, with which it goes on
// opening its old ciphertexts, and gets a version of its own that encrypts from now on. It is
// the caller's key then, with a life like any other; Rewrap and ReEncrypt move data on.
//
// From then on the key store has the material of the old versions, sealed, and the source may
// forget it. It should: a key that is deleted here is deleted there only if somebody does it.
// The source itself stays in Config.Legacy, for it alone knows its ciphertexts.
//
// Refused with ErrOrigin are keys of imported material, whose owner may have it still:
// import that into a key of its own; and with ErrUnsupported keys that the other system rotates by itself: switch
// that off there first. Keys with several versions are taken, unlike the cloud service's.
// A key that is here already, and one that is no key of another system, is ErrUnsupported too.
func (m *Manager) MigrateLegacyKey(ctx context.Context, keyID, instance string) (_ Key, err error) {
	c := m.begin(OpMigrateLegacyKey)
	defer c.end(ctx, &err)
	if instance == "" {
		instance = DefaultInstance
	}
	id, ok := keyid.Parse(keyID)
	switch {
	case !ok:
		return Key{}, invalid(c.op, "the keyID is not the ID of a key, but an alias or something else")
	case !validInstanceID(instance):
		return Key{}, badInstanceID(c.op)
	}
	c.keyID, c.instance = keyID, instance
	if err := c.authorize(ctx, Request{KeyID: keyID, Instance: instance}); err != nil {
		return Key{}, err
	}
	e, err := m.load(ctx, c, id)
	if err != nil {
		return Key{}, err
	}
	ie, err := m.instanceOf(ctx, c, e.record.keys.ID())
	if err != nil {
		return Key{}, err
	}
	if reasons := m.notMigrated(c, e.record, ie); len(reasons) > 0 {
		return Key{}, reasons[0]
	}
	ie, err = m.activeInstance(ctx, c, instance)
	if err != nil {
		return Key{}, err
	}
	r, err := m.takeOver(ctx, c, id, ie)
	if err != nil {
		return Key{}, err
	}
	switch _, err := m.write(ctx, c, r, ""); {
	case errors.Is(err, errStale): // somebody was quicker
		return Key{}, notLegacy(c.op, keyID)
	case err != nil:
		return Key{}, err
	}
	return m.describe(r, ie, c.now()), nil
}

// notMigrated is why a key is not taken over.
func (m *Manager) notMigrated(c *call, r *record, ie *instanceEntry) (reasons []error) {
	if gone := r.obstacles(c, ie) & isGone; gone != 0 {
		return r.refusals(c, ie, gone)
	}
	if r.Owner != OwnerLegacy {
		return []error{notLegacy(c.op, r.id())}
	}
	key := m.legacy.keys[r.ID].key
	if key.Imported {
		reasons = append(reasons, &refusal{op: c.op, keyID: r.id(), cond: ErrOrigin, text: "its material was imported into the other system",
			hint: "The owner of the material may have it still. Create a key of OriginExternal, import the material into it, and move the data with ReEncrypt."})
	}
	if key.Rotates {
		reasons = append(reasons, &refusal{op: c.op, keyID: r.id(), cond: ErrUnsupported, text: "the other system rotates it by itself",
			hint: "Switch the rotation off there, so that no version comes to be that this service does not know. Then try again."})
	}
	return reasons
}

func notLegacy(op Op, keyID string) error {
	return &refusal{op: op, keyID: keyID, cond: ErrUnsupported, text: "it is no key of another system, or was taken over already",
		hint: "There is nothing to do for a key that is here already. Keys lists those of other systems with OwnerLegacy."}
}

// takeOver makes the record of a key that is taken over, and the notes that lead to it.
func (m *Manager) takeOver(ctx context.Context, c *call, id keyid.ID, ie *instanceEntry) (*record, error) {
	known := m.legacy.keys[id]
	r := known.record(id, ie.keys)
	r.Owner = OwnerCustomer
	var err error
	if r.Protection, err = m.level(c.op, ie.rec.Protection); err != nil {
		return nil, err
	}
	if r.CreatedAt.IsZero() {
		r.CreatedAt = c.now()
	}
	for i := range r.Old {
		material := known.key.Versions[i].Material()
		r.Old[i].Sealed, err = r.keys.Seal(r.Old[i].place(id, i), material)
		clear(material)
		if err != nil {
			return nil, err
		}
	}
	if r.oldData() > maxOld {
		return nil, unsupported(c.op, r.id(), "its versions are more than a record holds: "+kib(maxOld)+", sealed",
			"Leave the key in Config.Legacy, where it decrypts. Create a key, and move the data to it with ReEncrypt.")
	}
	if err := m.addVersion(ctx, c, r); err != nil {
		return nil, err
	}
	for i := range r.Old {
		if err := m.addMaker(ctx, c, r.Old[i].at(), id); err != nil {
			return nil, err
		}
	}
	return r, nil
}
