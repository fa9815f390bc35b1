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

// KeyVersion is one version of a key. Every version decrypts what it encrypted until it is
// retired; the primary one encrypts.
type KeyVersion struct {
	KeyID     string
	Version   int // 1 for the first; no number is used twice
	CreatedAt time.Time
	Primary   bool
	Retiring  bool      // it is suspended: see RetireKeyVersions
	RetiresAt time.Time // when it is destroyed; zero unless it is Retiring
}

// RotationStatus says whether a key is rotated by itself.
type RotationStatus string

// The statuses of a rotation policy.
const (
	RotationDisabled  RotationStatus = ""          // there is no policy
	RotationEnabled   RotationStatus = "Enabled"   // Maintain rotates the key when it is due
	RotationSuspended RotationStatus = "Suspended" // there is one, and it is not followed: Reason says why
)

// A policy that will meet the limit of versions is announced by NoticeVersionsRunOut when no more
// than so many rotations are left, or so long before the first that does not fit.
const (
	runOutRotations = 2
	runOutBefore    = 28 * 24 * time.Hour
)

// Rotation is a key's rotation policy and what became of it.
type Rotation struct {
	Status RotationStatus
	Reason string    // why it is Suspended; "" unless it is
	Days   int       // the interval; 0: no policy
	Last   time.Time // when the primary version was made
	Next   time.Time // when the next is due, if there is a policy; past: Maintain's next pass

	// VersionsLeft is how many more versions the key can be given until some are retired. It is 0
	// for keys that are not rotated.
	VersionsLeft int
}

// RotateKey gives a key a new version, which encrypts from now on; what older versions
// encrypted stays readable. Only an Enabled key is rotated. It is refused with
// ErrOrigin for a key of imported material, with ErrUsage for one that is not of AES, and with
// ErrLimit if the key has Config.MaxKeyVersions of them, or if they take 384 KiB together:
// RetireKeyVersions makes room.
//
// By what the key is, it is refused with ErrDisabled, ErrInstanceExpired, ErrNotFound,
// ErrOrigin, ErrPendingDeletion, ErrPendingImport, ErrReadOnly and ErrUsage.
func (m *Manager) RotateKey(ctx context.Context, ref string) (Key, error) {
	return m.update(ctx, OpRotateKey, ref, nil, m.rotate(ctx))
}

func (m *Manager) rotate(ctx context.Context) func(*call, *record) error {
	return func(c *call, r *record) error { return m.addVersion(ctx, c, r) }
}

// KeyVersions returns the versions that a key has, the oldest first. Those that were retired are
// not among them; those that are suspended until then are Retiring.
//
// By what the key is, it is refused with ErrNotFound.
func (m *Manager) KeyVersions(ctx context.Context, ref string) (_ []KeyVersion, err error) {
	c := m.begin(OpListKeyVersions)
	defer c.end(ctx, &err)
	e, err := m.lookup(ctx, c, ref, nil)
	if err != nil {
		return nil, err
	}
	r, retired := e.record, e.record.retiredBefore(c.now())
	versions := make([]KeyVersion, 0, len(r.Versions))
	for _, v := range r.Versions {
		if v.Version < retired {
			continue
		}
		kv := KeyVersion{KeyID: r.id(), Version: int(v.Version), CreatedAt: v.CreatedAt, Primary: v.Version == r.Primary}
		if v.Version < r.RetiringBefore {
			kv.Retiring, kv.RetiresAt = true, r.RetireAt
		}
		versions = append(versions, kv)
	}
	return versions, nil
}

// UpdateRotationPolicy has Maintain rotate a key every so many days, 7 to 365, counted from
// its last rotation; 0 takes the policy away. A policy that makes the rotation overdue is
// followed by Maintain's next pass. While the key is not Enabled the policy is suspended, and also
// when the key has as many versions as it may have: Rotation.VersionsLeft says how many are left.
// Weeks before that an Event has NoticeVersionsRunOut. RetireKeyVersions makes room.
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
		if r.RotationDays != int32(days) {
			r.RotationDays, r.RunsOutTold = int32(days), false
		}
		return nil
	}
}

// NeedsRewrap reports whether a ciphertext was made under another version of its key than the one
// that encrypts now, or may have been made in another system by a key that was taken over. It does
// not open the ciphertext, but goes by what this says of itself, as Inspect does: nothing of that
// is proven. One of a version that was retired is ErrRetired, as in Decrypt.
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
	if h.Version < e.record.retiredBefore(c.now()) {
		if err := e.record.refuseRetired(c, h.Version); err != nil {
			return false, err
		}
	}
	if e.record.version(h.Version) < 0 {
		return false, refuse(c.op, c.keyID, ErrCiphertext)
	}
	return h.Version != e.record.Primary, nil
}

// due reports whether the policy asks for a rotation now.
func (o *Rotation) due(now time.Time) bool {
	return o.Status == RotationEnabled && !now.Before(o.Next)
}

// noticeAt is when it is to be told that a policy will meet the limit of versions; zero: there is
// no policy.
func (o *Rotation) noticeAt() time.Time {
	switch {
	case o.Days == 0:
		return time.Time{}
	case o.VersionsLeft <= runOutRotations:
		return longAgo
	}
	// Of so many rotations the first is at Next.
	return o.Next.AddDate(0, 0, o.VersionsLeft*o.Days).Add(-runOutBefore) // a Duration would not hold it
}

// runsOut reports whether it is time to tell that the policy of a key will meet the limit.
func (o *Rotation) runsOut(state State, now time.Time) bool {
	at := o.noticeAt()
	return state == Enabled && !at.IsZero() && !now.Before(at)
}

// rotation is the policy of a key in a state, and what becomes of it.
func (m *Manager) rotation(r *record, state State) Rotation {
	var o Rotation
	if r.Origin == OriginKMS && r.Owner != OwnerLegacy && r.purpose()&forSealing != 0 {
		o.VersionsLeft = m.versionsLeft(r)
	}
	if i := r.version(r.Primary); i >= 0 {
		o.Last = r.Versions[i].CreatedAt
	}
	if r.RotationDays == 0 {
		return o
	}
	o.Days, o.Status = int(r.RotationDays), RotationEnabled
	o.Next = o.Last.Add(time.Duration(o.Days) * 24 * time.Hour)
	switch {
	case state != Enabled:
		o.Status, o.Reason = RotationSuspended, "the key is "+state.String()
	case o.VersionsLeft == 0:
		o.Status, o.Reason = RotationSuspended, "there is room for no further version of the key, which has "+count(len(r.Versions), "version")
	}
	return o
}

// versionsLeft is how many more versions a key may have: by their number, and by the room that
// they take if each is as long as the longest so far.
func (m *Manager) versionsLeft(r *record) int {
	left, longest := m.maxVersions-len(r.Versions), 0
	for i := range r.Versions {
		longest = max(longest, r.Versions[i].size())
	}
	if longest > 0 {
		left = min(left, (maxVersionData-r.versionData())/longest)
	}
	return max(left, 0)
}

// checkVersions refuses a further version of a key that has as many as it may have.
func (m *Manager) checkVersions(c *call, r *record) error {
	if m.versionsLeft(r) > 0 {
		return nil
	}
	text := "it has " + count(len(r.Versions), "version") + ", and may have " + strconv.Itoa(m.maxVersions) + " that take " + kib(maxVersionData) + " together"
	return refuseBecause(c.op, r.id(), ErrLimit, text, nil)
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
	if err := m.checkVersions(c, r); err != nil {
		return err
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
