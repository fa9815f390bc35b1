package kms

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/provider"
)

// Origin says where a key's material comes from.
type Origin string

// The origins.
const (
	OriginKMS      Origin = "KMS"      // the service makes the material
	OriginExternal Origin = "EXTERNAL" // the owner imports it
)

// Protection says where a key's material lives.
type Protection string

// The protection levels.
const (
	ProtectionSoftware Protection = "SOFTWARE" // sealed in the key store
	ProtectionHSM      Protection = "HSM"      // in the hardware, which does all cryptography with it
)

// Bounds of what a caller may give.
const (
	MaxDescription = 8192 // characters of a description, and of a protection's reason
	MaxTags        = 20   // tags of a key
	MaxTag         = 128  // characters of a tag's key, and of its value
	MaxDependents  = 100  // dependents of a key
	MaxDependent   = 256  // characters of a dependent's name, and of its note
)

// Owner says whose key it is, and so who may change it.
type Owner string

// The owners.
const (
	OwnerCustomer Owner = ""        // whoever calls the Manager
	OwnerService  Owner = "SERVICE" // a service of the program: only its view changes the key
	OwnerLegacy   Owner = "LEGACY"  // another system: here the key opens what it made there, and is not changed
)

// Key is a master key as it stood when it was asked for: all that may be known of it.
// Its material is never part of it.
type Key struct {
	ID         string
	Instance   string // the key store instance that it lives in
	State      State  // Unavailable while the instance is Expired
	Underlying State  // the State but for the instance: what it is when that is renewed
	Spec       Spec
	Usage      Usage
	Origin     Origin
	Protection Protection
	Owner      Owner
	Service    string // the code of the service whose key it is

	Description    string
	Tags           map[string]string
	Protected      bool   // deletion protection is on
	ProtectedWhy   string // and why
	Dependents     []Dependent
	CreatedAt      time.Time
	DeletionDate   time.Time // zero unless it is PendingDeletion, or would be but for its instance
	PrimaryVersion int       // the key version that encrypts; 0: none does
	OldVersions    int       // versions that it had in another system, whose ciphertexts it opens

	Rotation          Rotation
	MaterialExpiresAt time.Time // when imported material expires; zero: never, or there is none
	Brownout          Brownout  // zero: there is none

	RetiredBefore  int       // versions below it were retired: nothing reads what they encrypted
	RetiringBefore int       // versions below it are suspended, and retired at RetiresAt; 0: none are
	RetiresAt      time.Time // until then, exclusive, CancelRetirement brings them back
	RetiringWhy    string    // the reason given to RetireKeyVersions
}

// Dependent is something that was registered as depending on a key: a table, a bucket,
// a backup. While a key has one, its deletion cannot be scheduled, and its instance is not released
// but by force.
type Dependent struct {
	Name string `json:"name"`           // 1 to 256 characters, unique for the key
	Note string `json:"note,omitempty"` // up to 256 characters, for people
}

// CreateKeyOptions says what key to create. The zero value of each field is its default.
type CreateKeyOptions struct {
	Instance    string            // the ID of an Active instance; DefaultInstance
	Spec        Spec              // SpecAES256
	Usage       Usage             // UsageSignVerify if keys of the Spec sign, else what they are for
	Origin      Origin            // OriginKMS
	Protection  Protection        // that of the instance; in the default one ProtectionSoftware, or the only level that there is
	Description string            // up to 8192 characters
	Tags        map[string]string // up to 20, see SetTags
}

// CreateKey makes a master key, Enabled, with material of its own; with OriginExternal one
// that is PendingImport until its material is imported. A nil opts takes every
// default. It is refused with ErrUnsupported where the Manager or the instance does not
// offer the key, with ErrInvalid where an option is out of bounds, with ErrInstanceExpired if
// the instance has expired, and with ErrNotFound where there is none.
func (m *Manager) CreateKey(ctx context.Context, opts *CreateKeyOptions) (_ Key, err error) {
	c := m.begin(OpCreateKey)
	defer c.end(ctx, &err)
	if err := c.enter(ctx); err != nil {
		return Key{}, err
	}
	if opts == nil {
		opts = &CreateKeyOptions{}
	}
	r, err := m.newRecord(c, *opts)
	if err != nil {
		return Key{}, err
	}
	id := cmp.Or(opts.Instance, DefaultInstance)
	if err := c.authorizeInstance(ctx, id); err != nil {
		return Key{}, err
	}
	ie, err := m.settleIn(ctx, c, r, id, opts.Protection)
	if err != nil {
		return Key{}, err
	}
	c.keyID = r.id()
	if err := m.create(ctx, c, r); errors.Is(err, errStale) {
		return Key{}, unavailable(c.op, c.keyID, "the ID is taken", err)
	} else if err != nil {
		return Key{}, err
	}
	return m.describe(r, ie, c.now()), nil
}

// DescribeKey returns what is known of a key. The ref of this and every other call is a
// key ID or an alias.
//
// By what the key is, it is refused with ErrNotFound.
func (m *Manager) DescribeKey(ctx context.Context, ref string) (Key, error) {
	key, _, err := m.describeKey(ctx, ref)
	return key, err
}

func (m *Manager) describeKey(ctx context.Context, ref string) (_ Key, e *entry, err error) {
	c := m.begin(OpDescribeKey)
	defer c.end(ctx, &err)
	if e, err = m.lookup(ctx, c, ref, nil); err != nil {
		return Key{}, nil, err
	}
	ie, err := m.instanceOf(ctx, c, e.record.keys.ID())
	if err != nil {
		return Key{}, nil, err
	}
	return m.describe(e.record, ie, c.now()), e, nil
}

// newRecord turns options into the record of a key that has no material and no instance yet.
func (m *Manager) newRecord(c *call, o CreateKeyOptions) (*record, error) {
	spec, use, err := o.choose(c.op)
	switch {
	case err != nil:
		return nil, err
	case o.Origin != "" && o.Origin != OriginKMS && o.Origin != OriginExternal:
		return nil, unsupported(c.op, "", "the origin is none that there is", "Choose OriginKMS or OriginExternal.")
	case o.Instance != "" && !validInstanceID(o.Instance):
		return nil, badInstanceID(c.op)
	}
	if _, err := m.level(c.op, o.Protection); err != nil {
		return nil, err
	}
	if err := checkText(c.op, o.Description, "description", MaxDescription); err != nil {
		return nil, err
	}
	if err := checkTags(c.op, o.Tags); err != nil {
		return nil, err
	}
	id := m.ids.Next(c.now())
	return &record{
		ID: id, Spec: spec, Usage: use.usage, Origin: cmp.Or(o.Origin, OriginKMS),
		Description: o.Description, Tags: maps.Clone(o.Tags), CreatedAt: c.now(),
	}, nil
}

// settleIn gives the record of a new key its instance, and the protection level of that.
func (m *Manager) settleIn(ctx context.Context, c *call, r *record, id string, asked Protection) (*instanceEntry, error) {
	ie, err := m.activeInstance(ctx, c, id)
	if err != nil {
		return nil, err
	}
	if own := ie.rec.Protection; own != "" && asked != "" && own != asked {
		return nil, unsupported(c.op, "", "the instance has keys of another protection level",
			"The keys of this instance are of the protection level "+string(own)+". Leave CreateKeyOptions.Protection empty, or name another instance.")
	}
	level, err := m.level(c.op, cmp.Or(ie.rec.Protection, asked))
	if err != nil {
		return nil, err
	}
	if _, imports := m.providers[level].(provider.Importer); r.Origin == OriginExternal && !imports {
		return nil, importsNothing(c.op, "", level)
	}
	if !specs[r.Spec].livesIn(level) {
		return nil, unsupported(c.op, "", "there are no software keys of the spec "+string(r.Spec),
			"Create the key with ProtectionHSM, which takes Config.HSM, or with the spec "+string(SpecAES256)+".")
	}
	r.keys, r.Protection = ie.keys, level
	return ie, nil
}

// level is the protection level that was asked for, if the Manager offers it.
func (m *Manager) level(op Op, asked Protection) (Protection, error) {
	if asked == "" {
		asked = ProtectionSoftware
		if m.providers[asked] == nil {
			asked = ProtectionHSM
		}
	}
	if m.providers[asked] == nil {
		return "", notOffered(op, "", asked)
	}
	return asked, nil
}

// configOf is where the provider of a protection level comes from.
var configOf = map[Protection]string{ProtectionSoftware: "Config.Software", ProtectionHSM: "Config.HSM"}

// notOffered refuses a protection level that the Manager has no provider of.
func notOffered(op Op, keyID string, level Protection) error {
	field, known := configOf[level]
	if !known {
		return unsupported(op, keyID, "the protection level is none that there is", "Choose ProtectionSoftware or ProtectionHSM.")
	}
	return unsupported(op, keyID, "the Manager has no provider of the protection level "+string(level),
		"Open the Manager with a provider in "+field+", or name a key or an instance of another protection level.")
}

// describe makes the caller's copy of a record.
func (m *Manager) describe(r *record, ie *instanceEntry, now time.Time) Key {
	state := r.state(ie, now)
	k := Key{
		ID: r.id(), Instance: r.keys.ID(), State: state, Underlying: r.facts().state(now),
		Spec: r.Spec, Usage: r.Usage, Origin: r.Origin, Protection: r.Protection, Owner: r.Owner, Service: r.Service,
		Description: r.Description, Tags: maps.Clone(r.Tags), Protected: r.Protected, ProtectedWhy: r.ProtectedWhy,
		Dependents: slices.Clone(r.Dependents), CreatedAt: r.CreatedAt, PrimaryVersion: int(r.Primary), OldVersions: len(r.Old),
		Rotation: m.rotation(r, state), MaterialExpiresAt: r.MaterialUntil, Brownout: r.brownout(now),
	}
	if k.Underlying == PendingDeletion {
		k.DeletionDate = r.DeleteAt
	}
	k.RetiredBefore = int(r.retiredBefore(now))
	if r.RetiringBefore != 0 && !r.retireDue(now) {
		k.RetiringBefore, k.RetiresAt, k.RetiringWhy = int(r.RetiringBefore), r.RetireAt, r.RetireWhy
	}
	if f := r.facts(); !f.material || f.expired(now) { // whether or not Maintain swept it
		k.PrimaryVersion, k.Rotation.Last, k.MaterialExpiresAt = 0, time.Time{}, time.Time{}
	}
	return k
}
