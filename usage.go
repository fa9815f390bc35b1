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

// KeyUsage is what is known of the use of a key: by this process up to now, and by others as of the last
// Maintain or Close of each, a minute ago with Run. Of this process it has every use that was over when
// the call began, also while Maintain writes. It is evidence, not a ledger: a process that is killed takes
// with it what it counted since its last Maintain. If the key store did not answer, and more than 16 other
// processes kept what they had counted before it was asked again, a use may be counted twice. Times are
// to the second.
type KeyUsage struct {
	KeyID       string
	Versions    []VersionUsage // of versions that were used and not retired, the oldest first
	Retired     VersionUsage   // of versions that were retired, together: Version is the highest of them
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
	n = u.Retired.Uses
	for _, v := range u.Versions {
		n += v.Uses
	}
	return n
}

// Last is the last use of the key, of whichever version; zero: it was never used.
func (u KeyUsage) Last() (last VersionUsage) {
	last = u.Retired
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
	all, err := m.usage.sum(id, func() (*usageRecord, error) {
		kept, _, err := m.loadUsage(ctx, c, id)
		return kept, err
	})
	if err != nil {
		return KeyUsage{}, err
	}
	return all.describe(), nil
}

// Close keeps what was counted of the use of keys, as Maintain does. What it could not keep is counted
// still, and another Close tries again. The Manager can be used on. Nothing else is lost if it is not called.
func (m *Manager) Close(ctx context.Context) error {
	c := m.begin(OpMaintain)
	if err := c.enter(ctx); err != nil {
		return err
	}
	return ended(ctx, m.flushUsage(ctx, c))
}

// flushUsage adds what this process counted to what is kept in the store. What cannot be kept stays a
// batch, for the next time. The first round settles the batches that there were, and those that the second
// finds have all that was counted before the call.
func (m *Manager) flushUsage(ctx context.Context, c *call) error {
	var failed []error
	for range 2 {
		batches, more := m.usage.take()
		for id, b := range batches {
			if err := m.keepUsage(ctx, c, id, b); err != nil {
				failed = append(failed, err)
			}
		}
		if !more || len(failed) > 0 {
			break
		}
	}
	return errors.Join(failed...)
}

// keepUsage writes a batch, unless it is in the store: by a write whose answer was lost, or by another call.
func (m *Manager) keepUsage(ctx context.Context, c *call, id keyid.ID, b *batch) error {
	err := c.retry(ctx, id.String(), func() error {
		kept, version, err := m.loadUsage(ctx, c, id)
		if err != nil || kept.holds(m.usage.self, b) {
			return err
		}
		sum := kept.plus(b.counted)
		sum.Seq, sum.Batches = kept.Seq+1, kept.with(m.usage.self, b)
		return written(c.op, id.String(), m.putHome(ctx, c, usageSegment+id.String(), version, sum))
	})
	if err == nil {
		m.usage.settle(id, b)
	}
	return err
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
var countedRefusals = []error{ErrDisabled, ErrPendingImport, ErrPendingDeletion, ErrInstanceExpired, ErrBrownout, ErrRetired}

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
	Batches     []keptBatch     `json:"batches,omitempty"`  // the last of each process that wrote it, the latest writer last

	RetiredBefore uint32        `json:"retiredBefore,omitempty"` // versions below it are one line:
	Retired       versionRecord `json:"retired,omitzero"`
}

// A keptBatch says which batches of a process are in the item: those up to a number.
type keptBatch struct {
	By     string `json:"by"`
	Number uint64 `json:"number"`
}

// maxBatches bounds how many processes an item names.
const maxBatches = 16

// holds reports whether a batch of a process is in the item.
func (u *usageRecord) holds(by string, b *batch) bool {
	return slices.ContainsFunc(u.Batches, func(k keptBatch) bool { return k.By == by && k.Number >= b.number })
}

// with is the Batches of the item when a batch is added to it.
func (u *usageRecord) with(by string, b *batch) []keptBatch {
	others := slices.DeleteFunc(slices.Clone(u.Batches), func(k keptBatch) bool { return k.By == by })
	return append(others[max(0, len(others)+1-maxBatches):], keptBatch{by, b.number})
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
		sum.Versions[i].add(v)
	}
	sum.RetiredBefore, sum.Retired = max(u.RetiredBefore, more.RetiredBefore), u.Retired
	sum.Retired.add(more.Retired)
	sum.Versions = slices.DeleteFunc(sum.Versions, func(v versionRecord) bool {
		retired := 0 < v.Version && v.Version < sum.RetiredBefore
		if retired {
			sum.Retired.add(v)
		}
		return retired
	})
	attempts := slices.Concat(u.Attempts, more.Attempts)
	slices.SortStableFunc(attempts, func(a, b Attempt) int { return a.At.Compare(b.At) })
	sum.Attempts = lastAttempts(attempts)
	return sum
}

// add adds the uses of another line, of the same version or of one that is told with it.
func (v *versionRecord) add(more versionRecord) {
	v.Version, v.Uses = max(v.Version, more.Version), v.Uses+more.Uses
	if more.Uses > 0 && more.Last >= v.Last {
		v.Last, v.LastOp = more.Last, more.LastOp
	}
}

func (v versionRecord) describe() VersionUsage {
	return VersionUsage{int(v.Version), v.Uses, time.Unix(v.Last, 0).UTC(), v.LastOp}
}

func (u *usageRecord) describe() KeyUsage {
	k := KeyUsage{KeyID: u.Key.String(), Refused: u.Refused, LastRefused: u.LastRefused, Attempts: slices.Clone(u.Attempts)}
	for _, v := range u.Versions {
		k.Versions = append(k.Versions, v.describe())
	}
	if u.Retired.Uses > 0 {
		k.Retired = u.Retired.describe()
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
