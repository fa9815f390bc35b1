package clock_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	_ "time/tzdata" // the zones, wherever this runs

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/campaign"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// clockBases are instants from which dates are counted across something that calendars do: seconds
// that need more than 31 and 32 bits, leap days and years that lack theirs, clocks that are put
// forward and back.
var clockBases = []struct {
	name, zone, local string
}{
	{"an ordinary day", "UTC", "2026-01-01T00:00:00"},
	{"before the end of 31 bits", "UTC", "2038-01-15T03:14:08"},
	{"a year before", "UTC", "2037-01-18T03:14:08"},
	{"before the end of 32 bits", "UTC", "2106-02-03T06:28:16"},
	{"before a leap day", "UTC", "2028-02-25T12:00:00"},
	{"on a leap day", "UTC", "2028-02-29T23:59:59"},
	{"a year without its leap day", "UTC", "2100-02-25T12:00:00"},
	{"a century", "UTC", "2099-12-28T23:59:59"},
	{"before clocks go forward", "Europe/Berlin", "2026-03-26T02:30:00"},
	{"before clocks go back", "Europe/Berlin", "2026-10-22T02:30:00"},
	{"before clocks go forward in America", "America/New_York", "2026-03-05T02:30:00"},
	{"half an hour forward", "Australia/Lord_Howe", "2026-10-01T02:15:00"},
	{"a quarter of an hour off", "Asia/Kathmandu", "2026-05-05T05:45:00"},
	{"across a day that there was not", "Pacific/Apia", "2011-12-28T12:00:00"},
}

// TestClockEdges: a day is 24 hours of 3600 seconds, whatever the calendar does, and a date is
// reached at its very nanosecond.
func TestClockEdges(t *testing.T) {
	for _, base := range clockBases {
		t.Run(base.name, func(t *testing.T) {
			zone, err := time.LoadLocation(base.zone)
			require.NoError(t, err)
			from, err := time.ParseInLocation("2006-01-02T15:04:05", base.local, zone)
			require.NoError(t, err)
			for _, days := range []int64{7, 366} {
				c := &clockCell{T: t, k: kmstest.New(t, func(c *kms.Config) { c.CacheKeys = 16 })}
				c.k.Clock.Set(from)
				c.edges(from.Unix(), int64(from.Nanosecond()), days)
			}
		})
	}
}

// edges walks through the dates of one of each kind, which are told as seconds since 1970.
func (c *clockCell) edges(from, nanos, days int64) {
	ctx, at := c.Context(), func(seconds int64) time.Time { return time.Unix(seconds, nanos) }
	const dayOf = 24 * 3600
	end := from + days*dayOf
	doomed, _ := c.key(nil)
	require.NoError(c, kit.Err(c.k.DisableKey(ctx, doomed)))
	for _, wrong := range []int{6, 367, -7, 0} {
		c.is(kms.ErrWindow, kit.Err(c.k.ScheduleKeyDeletion(ctx, doomed, wrong)))
	}
	key, err := c.k.ScheduleKeyDeletion(ctx, doomed, int(days))
	require.NoError(c, err)
	require.Equal(c, end, key.DeletionDate.Unix())
	bound, p := c.external()
	require.Equal(c, from+dayOf, p.ExpiresAt.Unix())
	until := at(end)
	require.NoError(c, c.imported(c.k.Manager, bound, p, until))
	material, err := c.k.Encrypt(ctx, bound, nil, nil)
	require.NoError(c, err)
	i, err := c.k.CreateInstance(ctx, &kms.InstanceOptions{ID: "i", ExpiresAt: until})
	require.NoError(c, err)
	require.Equal(c, end+15*dayOf, i.ReleasesAt.Unix())
	_, lodger := c.key(&kms.CreateKeyOptions{Instance: "i"})

	for _, edge := range []struct {
		date          int64
		before, after error
		ask           func() error
	}{
		{from + dayOf, nil, kms.ErrImportToken, func() error { return c.imported(c.k.Manager, bound, p, until) }},
		{end, nil, kms.ErrNotFound, func() error { return kit.Err(c.k.DescribeKey(ctx, doomed)) }},
		{end, nil, kms.ErrPendingImport, func() error { return kit.Err(c.k.Decrypt(ctx, material, nil)) }},
		{end, nil, kms.ErrInstanceExpired, func() error { return kit.Err(c.k.Decrypt(ctx, lodger, nil)) }},
		{end + 15*dayOf, kms.ErrInstanceExpired, kms.ErrNotFound, func() error { return kit.Err(c.k.Decrypt(ctx, lodger, nil)) }},
	} {
		for _, beside := range []time.Duration{-1, 0, 1} {
			c.k.Clock.Set(at(edge.date).Add(beside))
			want := edge.before
			if beside >= 0 {
				want = edge.after
			}
			c.is(want, edge.ask())
		}
	}
	c.k.Clock.Set(at(end).Add(-1))
	c.is(nil, kit.Err(c.k.CancelKeyDeletion(ctx, doomed)))
}

// TestClockWalks: clocks of two processes go to and fro at random, and each looks now and then. A
// key is purged only if one saw its date passed, and then one a day later, by what their
// clocks showed, and none whose clock was set back saw it ahead between the two. From its date on it is never used, by any clock.
func TestClockWalks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	purged, dropped := 0, 0
	for range campaign.Size(1000, 1_000_000) {
		c := &clockCell{T: t, k: kmstest.New(t, func(c *kms.Config) { c.PurgeDelay, c.CacheKeys = day, 16 }), sides: make([]clockSide, 2)}
		c.sides[1].skew = clockSkews[random.IntN(len(clockSkews))]
		c.open()
		p, d := c.walk(random)
		purged, dropped = purged+p, dropped+d
	}
	t.Logf("%d purged, %d notes dropped", purged, dropped)
	require.NotZero(t, purged)
	require.NotZero(t, dropped)
}

// walk moves the clock at random, and tells whether the key was purged in the end, and how often a
// note was dropped.
func (c *clockCell) walk(random *rand.Rand) (purged, dropped int) {
	ctx := c.Context()
	id, ciphertext := c.key(nil)
	require.NoError(c, kit.Err(c.k.DisableKey(ctx, id)))
	key, err := c.k.ScheduleKeyDeletion(ctx, id, 7)
	require.NoError(c, err)
	date := key.DeletionDate
	var looks []time.Time // at the passed date, since one saw it ahead whose clock was set back
	var last [2]time.Time // look of each
	for range 12 {
		jump := time.Duration(random.Int64N(int64(40*time.Hour))) * time.Duration(1-2*random.IntN(2))
		switch random.IntN(4) {
		case 0:
			c.k.Clock.Set(date.Add(time.Duration(random.IntN(3) - 1)))
		case 1:
			c.k.Clock.Set(date.Add(jump))
		case 2:
			c.k.Clock.Advance(jump)
		default:
			c.k.Clock.Advance(day)
		}
		of := random.IntN(2)
		side := c.sides[of]
		now := c.k.Clock.Now().Add(side.skew)
		want := kms.ErrPendingDeletion
		if purged > 0 || !now.Before(date) {
			want = kms.ErrNotFound
		}
		c.is(want, kit.Err(side.Encrypt(ctx, id, nil, nil)))
		c.is(want, kit.Err(side.Decrypt(ctx, ciphertext, nil)))
		if random.IntN(3) == 0 {
			continue
		}
		report, err := side.Maintain(ctx)
		require.NoError(c, err)
		setBack := now.Before(last[of])
		last[of] = now
		if now.Before(date) && setBack && len(looks) > 0 && purged == 0 {
			dropped++
			looks = nil
		}
		if !now.Before(date) {
			looks = append(looks, now)
		}
		if len(report.Purged) > 0 {
			purged++
			require.Equal(c, []string{id}, report.Purged)
			require.False(c, now.Before(date))
			require.True(c, slices.ContainsFunc(looks, func(look time.Time) bool { return now.Sub(look) >= day }), fmt.Sprint(looks))
		}
	}
	require.LessOrEqual(c, purged, 1)
	return purged, dropped
}
