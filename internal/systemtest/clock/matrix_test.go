// Package clock_test moves the clocks of two processes around every date.
package clock_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// The matrix: a clock that is set right while something with a date is made, and is off when that
// date is near; and beside it a process whose clock is off by something else. What they answer is
// told by comparing what their clocks show with the date, and by nothing else.
const day = 24 * time.Hour

var (
	clockOffsets = []time.Duration{-400 * day, -day, -time.Hour, -time.Second, 0, time.Second, time.Hour, day, 7 * day, 366 * day, 400 * day}
	clockMoments = []struct {
		name    string
		from    time.Duration // the true time, from the date on
		restart bool          // the processes begin anew when the clock is off already
	}{{"before", -time.Hour, false}, {"during", 0, false}, {"after", time.Hour, false}, {"across a restart", 0, true}}
	clockSkews   = []time.Duration{0, 5 * time.Minute, -5 * time.Minute, 25 * time.Hour, -25 * time.Hour}
	clockTargets = []struct {
		name string
		run  func(*clockCell)
	}{
		{"schedule", (*clockCell).schedule}, {"cancel", (*clockCell).cancel}, {"purge", (*clockCell).purge}, {"import token", (*clockCell).importToken},
		{"material expiry", (*clockCell).materialExpiry}, {"instance expiry", (*clockCell).instanceExpiry}, {"grace end", (*clockCell).graceEnd},
	}
)

// A clockCell is a cell of the matrix. Both processes share a store and no clock.
type clockCell struct {
	*testing.T
	k       *kmstest.KMS
	sides   []clockSide
	away    time.Duration // what the clock shows when it counts, from the date on
	restart bool
	checked int // assertions that bear on the date
}

// A clockSide is one of the processes.
type clockSide struct {
	*kms.Manager
	skew time.Duration // of its clock, from that of the other
	now  time.Time     // what its clock shows, once it counts
}

const month = 30 * day

func TestClockMatrix(t *testing.T) {
	cells := 0
	for _, target := range clockTargets {
		t.Run(target.name, func(t *testing.T) {
			for _, offset := range clockOffsets {
				for _, moment := range clockMoments {
					for _, skew := range clockSkews {
						name := fmt.Sprintf("%v/%s/%v", offset, moment.name, skew)
						c := &clockCell{T: t, away: moment.from + offset, restart: moment.restart}
						c.k = kmstest.New(t, func(c *kms.Config) { c.PurgeDelay, c.CacheKeys = day, 16 })
						c.sides = []clockSide{{skew: 0}, {skew: skew}}
						c.open()
						target.run(c)
						require.NotZero(t, c.checked, name)
						cells++
					}
				}
			}
		})
	}
	require.Equal(t, 11*7*4*5, cells)
}

// open begins both processes.
func (c *clockCell) open() {
	for i := range c.sides {
		side := &c.sides[i]
		side.Manager = c.k.Another(c.T, func(config *kms.Config) {
			config.Now = func() time.Time { return c.k.Clock.Now().Add(side.skew) }
		})
	}
}

// near sets the clock to where it counts, about a date.
func (c *clockCell) near(date time.Time) {
	c.k.Clock.Set(date.Add(c.away))
	if c.restart {
		c.open()
	}
	for i := range c.sides {
		c.sides[i].now = date.Add(c.away + c.sides[i].skew)
	}
}

// is asserts an answer: nil is that it is done.
func (c *clockCell) is(want, err error) {
	c.Helper()
	c.checked++
	if want == nil {
		require.NoError(c, err)
		return
	}
	require.ErrorIs(c, err, want)
}

// unless is no error if something is so, and else want.
func unless(so bool, want error) error {
	if so {
		return nil
	}
	return want
}

// key makes a key with a ciphertext, while the clock is right.
func (c *clockCell) key(opts *kms.CreateKeyOptions) (id string, ciphertext []byte) {
	c.Helper()
	key, err := c.k.CreateKey(c.Context(), opts)
	require.NoError(c, err)
	if key.Origin == kms.OriginKMS {
		ciphertext, err = c.k.Encrypt(c.Context(), key.ID, nil, nil)
		require.NoError(c, err)
	}
	return key.ID, ciphertext
}

// scheduled makes a key that is deleted in a month.
func (c *clockCell) scheduled() (id string, ciphertext []byte, date time.Time) {
	id, ciphertext = c.key(nil)
	require.NoError(c, kit.Err(c.k.DisableKey(c.Context(), id)))
	key, err := c.k.ScheduleKeyDeletion(c.Context(), id, 30)
	require.NoError(c, err)
	date = c.k.Clock.Now().Add(month)
	require.Equal(c, date, key.DeletionDate)
	return id, ciphertext, date
}
