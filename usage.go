package kms

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/keystore"
)

// KeyUsage is what is known of the use of a key: by all processes as far as they have kept
// it, and by this one up to now. It is evidence, not a ledger: a process that is killed takes
// with it what it counted since its last Maintain, a minute with Run, and where the key store
// did not answer a use may be counted twice. Times are to the second.
type KeyUsage struct {
	KeyID       string
	Versions    []VersionUsage // of versions that were ever used, the oldest first
	Refused     uint64         // uses that were refused because of what the key was
	LastRefused Attempt        // zero: none was
	Attempts    []Attempt      // the last uses that were refused while it was PendingDeletion, up to 10, the oldest first
}

// VersionUsage is what is known of the use of a key version.
type VersionUsage struct {
	Version int    // 0: the versions that it had in another system, together
	Uses    uint64 // that were done; those that were refused are not
	Last    time.Time
	LastOp  Op
}

// Attempt is a use of a key that was refused.
type Attempt struct {
	At   time.Time `json:"at"`
	Op   Op        `json:"op"`
	Code string    `json:"code"` // of the refusal
}

// Uses is how often the key was used, in all versions.
func (u KeyUsage) Uses() (n uint64) {
	for _, v := range u.Versions {
		n += v.Uses
	}
	return n
}

// Last is the last use of the key, of whichever version; zero: it was never used.
func (u KeyUsage) Last() (last VersionUsage) {
	for _, v := range u.Versions {
		if !v.Last.Before(last.Last) {
			last = v
		}
	}
	return last
}

// KeyUsage returns what is known of the use of a key.
//
// By what the key is, it is refused with ErrNotFound.
func (m *Manager) KeyUsage(ctx context.Context, ref string) (_ KeyUsage, err error) {
	c := m.begin(OpGetKeyUsage)
	defer c.end(ctx, &err)
	e, err := m.lookup(ctx, c, ref, nil)
	if err != nil {
		return KeyUsage{}, err
	}
	return m.keyUsage(ctx, c, e.record.ID)
}

func (m *Manager) keyUsage(ctx context.Context, c *call, id keyid.ID) (KeyUsage, error) {
	kept, _, err := m.loadUsage(ctx, c, id)
	if err != nil {
		return KeyUsage{}, err
	}
	return kept.plus(m.usage.peek(id)).describe(), nil
}

// Close keeps what was counted of the use of keys, as Maintain does. The Manager can be used
// on. Nothing else is lost where it is not called.
func (m *Manager) Close(ctx context.Context) error {
	c := m.begin(OpMaintain)
	if err := c.enter(ctx); err != nil {
		return err
	}
	return ended(ctx, m.flushUsage(ctx, c))
}

// flushUsage adds what this process counted to what is kept in the store.
func (m *Manager) flushUsage(ctx context.Context, c *call) error {
	var failed []error
	for id, counted := range m.usage.take() {
		if err := m.keepUsage(ctx, c, id, counted); err != nil {
			m.usage.restore(counted)
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (m *Manager) keepUsage(ctx context.Context, c *call, id keyid.ID, counted *usageRecord) error {
	return c.retry(ctx, id.String(), func() error {
		kept, version, err := m.loadUsage(ctx, c, id)
		if err != nil {
			return err
		}
		sum := kept.plus(counted)
		sum.Seq = kept.Seq + 1
		return written(c.op, id.String(), m.putHome(ctx, c, usageSegment+id.String(), version, sum))
	})
}

// loadUsage reads what is kept of the use of a key; nothing is kept of one that was never
// used. What somebody else wrote there is as nothing: no key stops for the want of it.
func (m *Manager) loadUsage(ctx context.Context, c *call, id keyid.ID) (*usageRecord, keystore.Version, error) {
	none := &usageRecord{Key: id}
	name := usageSegment + id.String()
	var kept usageRecord
	version, err := m.getHome(ctx, c, name, id.String(), &kept, sealing.ErrItem)
	switch {
	case errors.Is(err, sealing.ErrItem), err == nil && kept.Key != id: // another's, or none
		return none, version, nil
	case err != nil:
		return nil, "", err
	}
	return &kept, version, nil
}

const maxAttempts = 10

// lastAttempts are the latest ones.
func lastAttempts(all []Attempt) []Attempt {
	return slices.Clone(all[max(0, len(all)-maxAttempts):])
}

// countedRefusals are the conditions of uses that would have been done but for what the key
// was just then.
var countedRefusals = []error{ErrDisabled, ErrPendingImport, ErrPendingDeletion, ErrInstanceExpired, ErrBrownout}

// countRefusal counts a use that was refused because of what the key is.
func (c *call) countRefusal(err error) {
	id, ok := keyid.Parse(c.keyID)
	if ok && slices.ContainsFunc(countedRefusals, func(cond error) bool { return refusedAs(err, cond) }) {
		c.m.usage.refuse(id, Attempt{At: c.now(), Op: c.op, Code: Code(err)}, refusedAs(err, ErrPendingDeletion))
	}
}

// A usageRecord is the item of what is known of the use of a key. It is evidence and no fact
// of the key, and so has an item of its own, which is written when there is time for it.
type usageRecord struct {
	Key         keyid.ID        `json:"key"`
	Seq         uint64          `json:"seq,omitempty"`
	Versions    []versionRecord `json:"versions,omitempty"` // ascending
	Refused     uint64          `json:"refused,omitempty"`
	LastRefused Attempt         `json:"lastRefused,omitzero"`
	Attempts    []Attempt       `json:"attempts,omitempty"` // while it was PendingDeletion
}

type versionRecord struct {
	Version uint32 `json:"version"`
	Uses    uint64 `json:"uses"`
	Last    int64  `json:"last"` // second since 1970
	LastOp  Op     `json:"lastOp"`
}

const usageSegment = "usage/"

func (v *tally) record(of tallied, uses uint64) *usageRecord {
	return &usageRecord{Key: of.id, Versions: []versionRecord{{of.version, uses, v.last.Load(), Op(v.lastOp.Load())}}}
}

func (v versionRecord) tally() *tally {
	t := &tally{}
	t.uses.Store(v.Uses)
	t.last.Store(v.Last)
	t.lastOp.Store(uint32(v.LastOp))
	return t
}

func (r *refusedTally) record(id keyid.ID) *usageRecord {
	return &usageRecord{Key: id, Refused: r.count, LastRefused: r.last, Attempts: r.attempts}
}

// plus is both together. Nil is nothing.
func (u *usageRecord) plus(more *usageRecord) *usageRecord {
	if u == nil {
		return more
	}
	sum := &usageRecord{Key: u.Key, Refused: u.Refused + more.Refused, LastRefused: u.LastRefused}
	if !more.LastRefused.At.Before(u.LastRefused.At) {
		sum.LastRefused = more.LastRefused
	}
	sum.Versions = slices.Clone(u.Versions)
	for _, v := range more.Versions {
		i, known := slices.BinarySearchFunc(sum.Versions, v, func(a, b versionRecord) int { return cmp.Compare(a.Version, b.Version) })
		if !known {
			sum.Versions = slices.Insert(sum.Versions, i, v)
			continue
		}
		old := &sum.Versions[i]
		old.Uses += v.Uses
		if v.Last >= old.Last {
			old.Last, old.LastOp = v.Last, v.LastOp
		}
	}
	attempts := slices.Concat(u.Attempts, more.Attempts)
	slices.SortStableFunc(attempts, func(a, b Attempt) int { return a.At.Compare(b.At) })
	sum.Attempts = lastAttempts(attempts)
	return sum
}

func (u *usageRecord) describe() KeyUsage {
	k := KeyUsage{KeyID: u.Key.String(), Refused: u.Refused, LastRefused: u.LastRefused, Attempts: slices.Clone(u.Attempts)}
	for _, v := range u.Versions {
		k.Versions = append(k.Versions, VersionUsage{int(v.Version), v.Uses, time.Unix(v.Last, 0).UTC(), v.LastOp})
	}
	return k
}

// MarshalText and UnmarshalText write operations into records, by their names.
func (op Op) MarshalText() ([]byte, error) { return []byte(op.String()), nil }

// UnmarshalText accepts the name of any operation. One that this version does not know is
// read as none.
func (op *Op) UnmarshalText(text []byte) error {
	*op = opNone
	for known := Op(0); known < numOps; known++ {
		if opNames[known] == string(text) {
			*op = known
		}
	}
	return nil
}
