package kms

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/provider"
)

// Spec says what kind of key it is.
type Spec = provider.Spec

// SpecAES256 is a symmetric key of 256 bits that encrypts and decrypts.
const SpecAES256 = provider.AES256

// Usage says what a key is for.
type Usage string

// UsageEncryptDecrypt is the usage of keys that encrypt and make data keys.
const UsageEncryptDecrypt Usage = "ENCRYPT/DECRYPT"

// Origin says where a key's material comes from.
type Origin string

// OriginKMS means that the service made the material.
const OriginKMS Origin = "KMS"

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

// Key is a master key as it stood when it was asked for: all that may be known of it.
// Its material is never part of it.
type Key struct {
	ID         string
	Instance   string // the key store instance that it lives in
	State      State
	Spec       Spec
	Usage      Usage
	Origin     Origin
	Protection Protection

	Description    string
	Tags           map[string]string
	Protected      bool   // deletion protection is on
	ProtectedWhy   string // and why
	Dependents     []Dependent
	CreatedAt      time.Time
	DeletionDate   time.Time // zero unless the State is PendingDeletion
	PrimaryVersion int       // the key version that encrypts
}

// Dependent is something that was registered as depending on a key: a table, a bucket,
// a backup. While a key has one, its deletion cannot be scheduled.
type Dependent struct {
	Name string `json:"name"`           // 1 to 256 characters, unique for the key
	Note string `json:"note,omitempty"` // up to 256 characters, for people
}

// CreateKeyOptions says what key to create. The zero value of each field is its default.
type CreateKeyOptions struct {
	Spec        Spec              // SpecAES256
	Usage       Usage             // what the Spec is for
	Origin      Origin            // OriginKMS
	Protection  Protection        // ProtectionSoftware, or the only level that the Manager offers
	Description string            // up to 8192 characters
	Tags        map[string]string // up to 20, see SetTags
}

// CreateKey makes a master key, Enabled, with material of its own. A nil opts takes every
// default. It is refused with ErrUnsupported where the Manager does not offer the key,
// and with ErrInvalid where an option is out of bounds.
func (m *Manager) CreateKey(ctx context.Context, opts *CreateKeyOptions) (_ Key, err error) {
	c := m.begin(OpCreateKey)
	defer c.end(ctx, &err)
	if opts == nil {
		opts = &CreateKeyOptions{}
	}
	if err := c.authorize(ctx, Request{}); err != nil {
		return Key{}, err
	}
	r, err := m.newRecord(c, *opts)
	if err != nil {
		return Key{}, err
	}
	c.keyID = r.id()
	if err := m.create(ctx, c, r); errors.Is(err, errStale) {
		return Key{}, unavailable(c.op, c.keyID, "the ID is taken", err)
	} else if err != nil {
		return Key{}, err
	}
	return m.describe(r, c.now), nil
}

// DescribeKey returns what is known of a key. The ref of this and every other call is a
// key ID or an alias.
func (m *Manager) DescribeKey(ctx context.Context, ref string) (_ Key, err error) {
	c := m.begin(OpDescribeKey)
	defer c.end(ctx, &err)
	e, err := m.lookup(ctx, c, ref, nil)
	if err != nil {
		return Key{}, err
	}
	return m.describe(e.record, c.now), nil
}

// SetDescription replaces the description of a key: up to 8192 characters.
func (m *Manager) SetDescription(ctx context.Context, ref, description string) (Key, error) {
	bad := checkText(OpSetDescription, description, "description", MaxDescription)
	return m.update(ctx, OpSetDescription, ref, bad, func(r *record, _ time.Time) error {
		r.Description = description
		return nil
	})
}

// SetTags replaces all tags of a key: up to 20, key and value of up to 128 characters
// out of a-z A-Z 0-9, space and / \ _ - . + = : @. A tag's key is not empty and begins
// neither with "acs:" nor with "aliyun".
func (m *Manager) SetTags(ctx context.Context, ref string, tags map[string]string) (Key, error) {
	return m.update(ctx, OpSetTags, ref, checkTags(OpSetTags, tags), func(r *record, _ time.Time) error {
		r.Tags = maps.Clone(tags)
		return nil
	})
}

// newRecord turns options into the record of a key that has no material yet.
func (m *Manager) newRecord(c *call, o CreateKeyOptions) (*record, error) {
	level, err := m.level(c.op, o.Protection)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Spec != "" && o.Spec != SpecAES256:
		return nil, refuseBecause(c.op, "", ErrUnsupported, "the spec", nil)
	case o.Usage != "" && o.Usage != UsageEncryptDecrypt:
		return nil, refuseBecause(c.op, "", ErrUnsupported, "the usage", nil)
	case o.Origin != "" && o.Origin != OriginKMS:
		return nil, refuseBecause(c.op, "", ErrUnsupported, "the origin", nil)
	}
	if err := checkText(c.op, o.Description, "description", MaxDescription); err != nil {
		return nil, err
	}
	if err := checkTags(c.op, o.Tags); err != nil {
		return nil, err
	}
	id := m.ids.next(c.now)
	return &record{
		ID: id, text: id.String(), Spec: SpecAES256, Usage: UsageEncryptDecrypt, Origin: OriginKMS, Protection: level,
		Description: o.Description, Tags: maps.Clone(o.Tags), CreatedAt: c.now,
	}, nil
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
		return "", refuseBecause(op, "", ErrUnsupported, "the protection level", nil)
	}
	return asked, nil
}

// describe makes the caller's copy of a record.
func (m *Manager) describe(r *record, now time.Time) Key {
	k := Key{
		ID: r.id(), Instance: m.instance.id, State: r.facts().state(now),
		Spec: r.Spec, Usage: r.Usage, Origin: r.Origin, Protection: r.Protection,
		Description: r.Description, Tags: maps.Clone(r.Tags), Protected: r.Protected, ProtectedWhy: r.ProtectedWhy,
		Dependents: slices.Clone(r.Dependents), CreatedAt: r.CreatedAt, PrimaryVersion: int(r.Primary),
	}
	if k.State == PendingDeletion {
		k.DeletionDate = r.DeleteAt
	}
	return k
}

func checkText(op Op, s, what string, most int) error {
	switch {
	case len(s) > most*utf8.UTFMax || utf8.RuneCountInString(s) > most:
		return invalid(op, "the "+what+" is too long")
	case !utf8.ValidString(s):
		return invalid(op, "the "+what+" is not UTF-8")
	}
	return nil
}

func checkTags(op Op, tags map[string]string) error {
	if len(tags) > MaxTags {
		return invalid(op, "more than 20 tags")
	}
	for key, value := range tags {
		switch {
		case key == "" || len(key) > MaxTag || len(value) > MaxTag:
			return invalid(op, "a tag's key is not 1 to 128 characters, or its value more than 128")
		case !only(key, tagBytes) || !only(value, tagBytes):
			return invalid(op, "a tag has a character that tags may not have")
		case strings.HasPrefix(key, "acs:") || strings.HasPrefix(key, "aliyun"):
			return invalid(op, "a tag's key begins with a reserved word")
		}
	}
	return nil
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
const tagBytes = alphanumeric + ` /\_-.+=:@`

// only tells whether every byte of s is one of allowed.
func only(s, allowed string) bool {
	for i := range len(s) {
		if strings.IndexByte(allowed, s[i]) < 0 {
			return false
		}
	}
	return true
}
