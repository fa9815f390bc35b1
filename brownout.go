package kms

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"math"
	"strconv"
	"time"
)

// Brownout refuses a share of the uses of a key for a while: a step between Enabled and
// Disabled, in which whoever still needs the key notices and can be found, and can still go
// on by trying again. It ends by itself.
type Brownout struct {
	Share float64   // of uses that are refused: 0 to 1, kept in millionths
	Until time.Time // from then on none is
}

// BrownoutError says that a use was among the share that is refused. It matches ErrBrownout.
type BrownoutError struct {
	refusal
	KeyID string
	Brownout
}

// millionths are in what a share is kept.
const millionths = 1_000_000

// SetBrownout has a share of the uses of an Enabled key refused with ErrBrownout until a
// date in the future: 0 refuses none and ends a brown-out, 1 refuses all. Which use is
// refused is random. Every use is counted and told to Observe, as ever. The date counts also
// while the key is not Enabled. A share that is not 0 to 1, or a date that is not in the
// future, is ErrInvalid.
func (m *Manager) SetBrownout(ctx context.Context, ref string, share float64, until time.Time) (Key, error) {
	var bad error
	switch {
	case !(share >= 0 && share <= 1): // and so not what is no number
		bad = invalid(OpSetBrownout, "the share is not 0 to 1")
	case share > 0 && !until.After(m.now()):
		bad = invalid(OpSetBrownout, "the end of the brown-out is not in the future")
	}
	return m.update(ctx, OpSetBrownout, ref, bad, func(_ *call, r *record) error {
		r.BrownShare, r.BrownUntil = uint32(math.Ceil(share*millionths)), until.Round(0).UTC()
		if r.BrownShare == 0 {
			r.BrownUntil = time.Time{}
		}
		return nil
	})
}

// brownout is that of a key now; zero: there is none.
func (r *record) brownout(now time.Time) Brownout {
	if r.BrownShare == 0 || !now.Before(r.BrownUntil) {
		return Brownout{}
	}
	return Brownout{Share: float64(r.BrownShare) / millionths, Until: r.BrownUntil}
}

// dim refuses a use of a key by chance, while that has a brown-out.
func (r *record) dim(c *call) error {
	if r.BrownShare == 0 || !lifecycle[c.op].isUse() || !c.now().Before(r.BrownUntil) {
		return nil
	}
	var random [8]byte
	rand.Read(random[:])
	if binary.BigEndian.Uint64(random[:])%millionths >= uint64(r.BrownShare) {
		return nil
	}
	return newBrownoutError(c, r)
}

func newBrownoutError(c *call, r *record) error {
	b := r.brownout(c.now())
	text := strconv.FormatFloat(b.Share*100, 'f', -1, 64) + " % of uses are refused until " + instant(b.Until)
	return &BrownoutError{refusal{op: c.op, keyID: r.id(), cond: ErrBrownout, text: text}, r.id(), b}
}
