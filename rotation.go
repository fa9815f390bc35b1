package kms

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/internal/wire"
	"github.com/keyhold/kms/provider"
)

// The interval of a rotation policy, in days of 24 hours.
const (
	MinRotationDays = 7
	MaxRotationDays = 365
)

// KeyVersion is one version of a key. Every version decrypts what it encrypted for as long
// as the key lives; the primary one encrypts.
type KeyVersion struct {
	KeyID     string
	Version   int // 1 for the first; no number is used twice
	CreatedAt time.Time
	Primary   bool
}

// RotationStatus says whether a key is rotated by itself.
type RotationStatus string

// The statuses of a rotation policy.
const (
	RotationDisabled  RotationStatus = ""          // there is no policy
	RotationEnabled   RotationStatus = "Enabled"   // Maintain rotates the key when it is due
	RotationSuspended RotationStatus = "Suspended" // there is a policy, and the key is not Enabled
)

// Rotation is a key's rotation policy and what became of it.
type Rotation struct {
	Status RotationStatus
	Days   int       // the interval; 0: no policy
	Last   time.Time // when the primary version was made
	Next   time.Time // when the next is due, if there is a policy; past: Maintain's next pass
}

// RotateKey gives a key a new version, which encrypts from now on; what older versions
// encrypted stays readable. Only an Enabled key is rotated. It is refused with
// ErrOrigin for a key of imported material, with ErrUsage for one that is not of AES, and with
// ErrLimit if the key has Config.MaxKeyVersions of them.
//
// By what the key is, it is refused with ErrDisabled, ErrInstanceExpired, ErrNotFound,
// ErrOrigin, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) RotateKey(ctx context.Context, ref string) (Key, error) {
	return m.update(ctx, OpRotateKey, ref, nil, m.rotate(ctx))
}

func (m *Manager) rotate(ctx context.Context) func(*call, *record) error {
	return func(c *call, r *record) error { return m.addVersion(ctx, c, r) }
}

// KeyVersions returns the versions of a key, the oldest first.
//
// By what the key is, it is refused with ErrNotFound.
func (m *Manager) KeyVersions(ctx context.Context, ref string) (_ []KeyVersion, err error) {
	c := m.begin(OpListKeyVersions)
	defer c.end(ctx, &err)
	e, err := m.lookup(ctx, c, ref, nil)
	if err != nil {
		return nil, err
	}
	versions := make([]KeyVersion, len(e.record.Versions))
	for i, v := range e.record.Versions {
		versions[i] = KeyVersion{KeyID: e.record.id(), Version: int(v.Version), CreatedAt: v.CreatedAt, Primary: v.Version == e.record.Primary}
	}
	return versions, nil
}

// UpdateRotationPolicy has Maintain rotate a key every so many days, 7 to 365, counted from
// its last rotation; 0 takes the policy away. A policy that makes the rotation overdue is
// followed by Maintain's next pass. While the key is not Enabled the policy is suspended.
//
// By what the key is, it is refused with ErrDisabled, ErrInstanceExpired, ErrNotFound,
// ErrOrigin, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) UpdateRotationPolicy(ctx context.Context, ref string, days int) (Key, error) {
	return m.update(ctx, OpUpdateRotationPolicy, ref, checkRotation(days), rotateEvery(days))
}

func checkRotation(days int) error {
	if days != 0 && (days < MinRotationDays || days > MaxRotationDays) {
		return invalid(OpUpdateRotationPolicy, "the rotation interval is not %d to %d days, nor 0", MinRotationDays, MaxRotationDays)
	}
	return nil
}

func rotateEvery(days int) func(*call, *record) error {
	return func(_ *call, r *record) error {
		r.RotationDays = int32(days)
		return nil
	}
}

// NeedsRewrap tells whether a ciphertext was made under another version of its key than
// the one that encrypts now, or by another system by a key that was taken over. It does not
// open the ciphertext.
func (m *Manager) NeedsRewrap(ctx context.Context, ciphertext []byte) (_ bool, err error) {
	c := m.begin(OpDescribeKey)
	defer c.end(ctx, &err)
	h, _, ok := wire.Parse(ciphertext)
	if !ok {
		return m.oldNeedsRewrap(ctx, c, ciphertext)
	}
	c.keyID = h.ID.String()
	if err := c.authorize(ctx, Request{KeyID: c.keyID}); err != nil {
		return false, err
	}
	e, err := m.find(ctx, c, h.ID)
	if err != nil {
		return false, err
	}
	if e.record.version(h.Version) < 0 {
		return false, refuse(c.op, c.keyID, ErrCiphertext)
	}
	return h.Version != e.record.Primary, nil
}

// rotationDue tells whether the policy of a key in that state asks for a rotation now.
func (r *record) rotationDue(state State, now time.Time) bool {
	o := r.rotation(state)
	return o.Status == RotationEnabled && !now.Before(o.Next)
}

func (r *record) rotation(state State) Rotation {
	var o Rotation
	if i := r.version(r.Primary); i >= 0 {
		o.Last = r.Versions[i].CreatedAt
	}
	if r.RotationDays == 0 {
		return o
	}
	o.Days, o.Status = int(r.RotationDays), RotationEnabled
	o.Next = o.Last.Add(time.Duration(o.Days) * 24 * time.Hour)
	if state != Enabled {
		o.Status = RotationSuspended
	}
	return o
}

// create writes the record of a new key and, unless it is to be imported, its first version.
func (m *Manager) create(ctx context.Context, c *call, r *record) error {
	if r.Origin == OriginKMS {
		if err := m.addVersion(ctx, c, r); err != nil {
			return err
		}
	}
	_, err := m.write(ctx, c, r, "")
	return err
}

// addVersion has the provider make a further version of a key, and makes it the primary.
func (m *Manager) addVersion(ctx context.Context, c *call, r *record) error {
	if len(r.Versions) >= m.maxVersions {
		return tooManyVersions(c.op, r.id(), m.maxVersions)
	}
	p, err := m.provider(c, r)
	if err != nil {
		return err
	}
	n := r.lastVersion() + 1
	material, err := p.Generate(ctx, versionID(r, n), r.Spec, r.purpose().use())
	if err != nil {
		return fromProvider(c.op, r.id(), err)
	}
	return m.keepVersion(c, r, n, material)
}

// tooManyVersions refuses one version more than Config.MaxKeyVersions.
func tooManyVersions(op Op, keyID string, most int) error {
	return &refusal{op: op, keyID: keyID, cond: ErrLimit, text: "it has " + count(most, "version"),
		hint: "Raise Config.MaxKeyVersions, or move on to a new key with ReEncrypt."}
}

// keepVersion puts a version into a record, sealed, as its primary, and wipes the material.
func (m *Manager) keepVersion(c *call, r *record, n uint32, material []byte) error {
	defer clear(material)
	sealed, err := r.keys.Seal(sealing.Material(r.ID, n), material)
	if err != nil {
		return err
	}
	r.Primary = n
	r.Versions = append(slices.Clip(r.Versions), keyVersion{Version: n, CreatedAt: c.now(), Sealed: sealed})
	return nil
}

// provider is the one of a key's protection level, if this Manager has it.
func (m *Manager) provider(c *call, r *record) (provider.Provider, error) {
	p := m.providers[r.Protection]
	if p == nil {
		return nil, notOffered(c.op, r.id(), r.Protection)
	}
	return p, nil
}

// material unseals what a version's provider made. The caller wipes it.
func (m *Manager) material(c *call, r *record, v *keyVersion) ([]byte, error) {
	material, err := r.keys.Open(sealing.Material(r.ID, v.Version), v.Sealed)
	if err != nil {
		return nil, refuseBecause(c.op, r.id(), ErrTampered, "the sealed material", nil)
	}
	return material, nil
}

// versionID is the name under which a provider knows a key version.
func versionID(r *record, version uint32) string {
	return r.id() + "/" + strconv.FormatUint(uint64(version), 10)
}
