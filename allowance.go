package kms

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/wire"
	"github.com/keyhold/kms/keystore"
)

// MaxHSMUses is how often one version of a hardware key encrypts: 2^31 times. Its nonces are 12
// random bytes, and that often the chance that two of them are alike stays at 2^-35 or below.
// The encryption that would be one too many is refused with ErrLimit. Software keys have no
// such bound that anybody could reach.
const MaxHSMUses = 1 << 31

// An allowanceRecord is the item of how many encryptions of a hardware key were handed out to
// processes. What a process was given and did not use is lost when it ends, so that the number is
// never too low.
type allowanceRecord struct {
	Key      keyid.ID          `json:"key"`
	Seq      uint64            `json:"seq"`
	Versions map[uint32]uint64 `json:"versions"`
}

const allowanceSegment = "allowance/"

func allowanceItem(id keyid.ID) string { return allowanceSegment + id.String() }

// The first block that a process takes for a key version, and the largest. Each is twice the one
// before: a process that ends loses about what it used, and a busy one seldom asks.
const (
	firstBlock   = 1 << 10
	largestBlock = 1 << 20
)

// allowances are the blocks that this process has.
type allowances struct {
	most, first uint64
	blocks      sync.Map // tallied -> *allowance
}

// An allowance is what is left of the block of a key version.
type allowance struct {
	left atomic.Int64
	turn chan struct{} // held by who takes the next block
	next uint64        // its size; of whoever has the turn
}

func (a *allowances) of(v tallied) *allowance {
	if known, ok := a.blocks.Load(v); ok {
		return known.(*allowance)
	}
	known, _ := a.blocks.LoadOrStore(v, &allowance{turn: make(chan struct{}, 1), next: a.first})
	return known.(*allowance)
}

// spend takes one encryption of the primary version from its allowance, if it has one.
func (m *Manager) spend(ctx context.Context, c *call, e *entry) error {
	if e.header.Suite != wire.HSM {
		return nil
	}
	v := tallied{e.header.ID, e.header.Version}
	a := m.allowances.of(v)
	for a.left.Add(-1) < 0 {
		if err := m.takeBlock(ctx, c, v, e.record.RetiredBefore, a); err != nil {
			return err
		}
	}
	return nil
}

// takeBlock gets the next block from the key store, unless somebody else just did.
func (m *Manager) takeBlock(ctx context.Context, c *call, v tallied, retired uint32, a *allowance) error {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return unavailable(c.op, c.keyID, "", context.Cause(ctx))
	}
	if a.left.Load() > 0 {
		return nil
	}
	n, err := m.reserve(ctx, c, v, retired, a.next)
	if err != nil {
		return err
	}
	a.left.Store(int64(n))
	a.next = min(2*a.next, largestBlock)
	return nil
}

// reserve hands out up to n encryptions of a key version: it is written down before any is done.
// Of versions that were retired nothing is kept: they encrypt no more.
func (m *Manager) reserve(ctx context.Context, c *call, v tallied, retired uint32, n uint64) (uint64, error) {
	err := c.retry(ctx, c.keyID, func() error {
		rec, version, err := m.loadAllowance(ctx, c, v.id)
		if err != nil {
			return err
		}
		maps.DeleteFunc(rec.Versions, func(version uint32, _ uint64) bool { return version < retired })
		given := rec.Versions[v.version]
		if given >= m.allowances.most {
			return &refusal{op: c.op, keyID: c.keyID, cond: ErrLimit, text: "this version of it has encrypted as often as a hardware key may",
				hint: "Rotate the key with RotateKey: its next version encrypts as often again. Where it has imported material, move on to a new key with ReEncrypt."}
		}
		n = min(n, m.allowances.most-given)
		rec.Versions[v.version] = given + n
		err = m.putAllowance(ctx, c, rec, version)
		if err == nil || errors.Is(err, keystore.ErrConflict) {
			return written(c.op, c.keyID, err)
		}
		return c.storeFailed(c.keyID, err) // nothing was handed out, so the outcome is known
	})
	return n, err
}

// putAllowance writes what was handed out of a key. Its errors are those of putHome.
func (m *Manager) putAllowance(ctx context.Context, c *call, rec *allowanceRecord, version keystore.Version) error {
	rec.Seq++
	return m.putHome(ctx, c, allowanceItem(rec.Key), version, rec)
}

// loadAllowance reads what was handed out of a key. What somebody else wrote there is ErrTampered:
// without the number nothing more is handed out.
func (m *Manager) loadAllowance(ctx context.Context, c *call, id keyid.ID) (*allowanceRecord, keystore.Version, error) {
	rec := new(allowanceRecord)
	tampered := refuseBecause(c.op, c.keyID, ErrTampered, "the count of its encryptions", nil)
	version, err := m.getHome(ctx, c, allowanceItem(id), c.keyID, rec, tampered)
	switch {
	case err != nil:
		return nil, "", err
	case version == "":
		return &allowanceRecord{Key: id, Versions: map[uint32]uint64{}}, "", nil
	case rec.Key != id || rec.Versions == nil:
		return nil, "", tampered
	}
	return rec, version, nil
}
