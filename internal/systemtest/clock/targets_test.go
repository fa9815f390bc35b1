package clock_test

import (
	"slices"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/stretchr/testify/require"
)

// What the cells of the clock matrix do, target by target.

// schedule: a date counts from what the clock shows, right or wrong; who reads it compares it
// with a clock of his own.
func (c *clockCell) schedule() {
	c.near(c.k.Clock.Now().Add(month))
	for i, side := range c.sides {
		for _, days := range []int{7, 366} {
			id, _ := c.key(nil)
			require.NoError(c, kit.Err(side.DisableKey(c.Context(), id)))
			for _, wrong := range []int{6, 367} {
				c.is(kms.ErrWindow, kit.Err(side.ScheduleKeyDeletion(c.Context(), id, wrong)))
			}
			date := side.now.Add(time.Duration(days) * day)
			key, err := side.ScheduleKeyDeletion(c.Context(), id, days)
			c.is(nil, err)
			require.Equal(c, date, key.DeletionDate)
			other := c.sides[1-i]
			c.is(unless(other.now.Before(date), kms.ErrNotFound), kit.Err(other.DescribeKey(c.Context(), id)))
			for _, beside := range []time.Duration{-1, 0, 1} {
				c.k.Clock.Set(date.Add(beside - side.skew))
				c.is(unless(beside < 0, kms.ErrNotFound), kit.Err(side.DescribeKey(c.Context(), id)))
			}
			c.k.Clock.Set(c.sides[0].now)
		}
	}
}

// cancel: up to the date by the clock of who cancels. What was cancelled is so for everybody.
func (c *clockCell) cancel() {
	first, _, date := c.scheduled()
	second, ciphertext, _ := c.scheduled()
	c.near(date)
	for i, id := range []string{first, second} {
		side, other := c.sides[i], c.sides[1-i]
		inTime := side.now.Before(date)
		c.is(unless(inTime, kms.ErrNotFound), kit.Err(side.CancelKeyDeletion(c.Context(), id)))
		c.is(unless(inTime || other.now.Before(date), kms.ErrNotFound), kit.Err(other.DescribeKey(c.Context(), id)))
		if i == 1 {
			want := kms.ErrDisabled
			if !inTime {
				want = kms.ErrNotFound
			}
			c.is(want, kit.Err(side.Decrypt(c.Context(), ciphertext, nil)))
		}
	}
}

// purge: never before the date, nor before two looks at it that lie a day apart, by the clocks
// of those who look. A clock that is set right before that has destroyed nothing.
func (c *clockCell) purge() {
	id, ciphertext, date := c.scheduled()
	c.near(date)
	var seen time.Time
	purged := false
	for _, side := range c.sides {
		report, err := side.Maintain(c.Context())
		c.is(nil, err)
		wait := !seen.IsZero() && !seen.After(side.now) && side.now.Sub(seen) < day
		switch {
		case side.now.Before(date):
			seen = time.Time{}
			require.Empty(c, slices.Concat(report.Noted, report.Waiting, report.Purged))
		case wait:
			require.Equal(c, []string{id}, report.Waiting)
		case seen.IsZero() || seen.After(side.now):
			seen = side.now
			require.Equal(c, []string{id}, report.Noted)
		default:
			purged = true
			require.Equal(c, []string{id}, report.Purged)
		}
		c.is(unless(!purged && side.now.Before(date), kms.ErrNotFound), kit.Err(side.DescribeKey(c.Context(), id)))
	}
	c.k.Clock.Set(date.Add(-day)) // right again
	m := c.sides[0].Manager
	report, err := m.Maintain(c.Context())
	c.is(nil, err)
	require.Empty(c, slices.Concat(report.Noted, report.Waiting, report.Purged))
	c.is(unless(!purged, kms.ErrNotFound), kit.Err(m.DescribeKey(c.Context(), id)))
	if purged {
		require.Equal(c, 25*time.Hour, c.sides[1].skew, "only a clock that is off by more than PurgeDelay does that")
		return
	}
	c.k.Clock.Set(date) // the note of the wrong clock is forgotten
	report, err = m.Maintain(c.Context())
	c.is(nil, err)
	require.Equal(c, []string{id}, report.Noted)
	c.k.Clock.Set(date.Add(-1))
	c.is(nil, kit.Err(m.CancelKeyDeletion(c.Context(), id)))
	c.is(nil, kit.Err(m.EnableKey(c.Context(), id)))
	c.is(nil, kit.Err(m.Decrypt(c.Context(), ciphertext, nil)))
}

// imported gives a key of imported material its material.
func (c *clockCell) imported(m *kms.Manager, id string, p kms.ImportParameters, until time.Time) error {
	wrapped, err := kms.WrapForImport(p, kit.Pattern(32))
	require.NoError(c, err)
	return kit.Err(m.ImportKeyMaterial(c.Context(), id, wrapped, p.Token, until))
}

func (c *clockCell) external() (id string, p kms.ImportParameters) {
	id, _ = c.key(&kms.CreateKeyOptions{Origin: kms.OriginExternal})
	p, err := kit.ImportParameters(c.Context(), c.k.Manager, c.k.Store, c.k.Root, id, c.k.Clock.Now())
	require.NoError(c, err)
	require.Equal(c, c.k.Clock.Now().UTC().Add(day), p.ExpiresAt)
	return id, p
}

// importToken: a token is good up to its end, by the clock of who imports.
func (c *clockCell) importToken() {
	first, p := c.external()
	second, q := c.external()
	c.near(p.ExpiresAt)
	for i, side := range c.sides {
		id, params := []string{first, second}[i], []kms.ImportParameters{p, q}[i]
		c.is(unless(side.now.Before(params.ExpiresAt), kms.ErrImportToken), c.imported(side.Manager, id, params, time.Time{}))
	}
}

// materialExpiry: material is there up to its end, for each by his clock; and again where the
// clock is set right.
func (c *clockCell) materialExpiry() {
	id, p := c.external()
	date := c.k.Clock.Now().Add(month)
	c.is(nil, c.imported(c.k.Manager, id, p, date))
	ciphertext, err := c.k.Encrypt(c.Context(), id, nil, nil)
	require.NoError(c, err)
	c.near(date)
	for _, side := range c.sides {
		c.is(unless(side.now.Before(date), kms.ErrPendingImport), kit.Err(side.Decrypt(c.Context(), ciphertext, nil)))
	}
	c.k.Clock.Set(date.Add(-2 * day))
	for _, side := range c.sides {
		c.is(nil, kit.Err(side.Decrypt(c.Context(), ciphertext, nil)))
	}
}

// instance makes an instance that expires in a month, with a key.
func (c *clockCell) instance(id string) (ciphertext []byte, expiry time.Time) {
	expiry = c.k.Clock.Now().Add(month)
	i, err := c.k.CreateInstance(c.Context(), &kms.InstanceOptions{ID: id, ExpiresAt: expiry})
	require.NoError(c, err)
	require.Equal(c, expiry.Add(15*day), i.ReleasesAt)
	_, ciphertext = c.key(&kms.CreateKeyOptions{Instance: id})
	return ciphertext, expiry
}

// ended is what a use of a key answers because of its instance.
func ended(now, expiry time.Time) error {
	switch {
	case now.Before(expiry):
		return nil
	case now.Before(expiry.Add(15 * day)):
		return kms.ErrInstanceExpired
	}
	return kms.ErrNotFound
}

// instanceExpiry: the keys of an instance are what its dates say, for each by his clock.
func (c *clockCell) instanceExpiry() {
	ciphertext, expiry := c.instance("i")
	c.near(expiry)
	for _, side := range c.sides {
		c.is(ended(side.now, expiry), kit.Err(side.Decrypt(c.Context(), ciphertext, nil)))
	}
	c.k.Clock.Set(expiry.Add(-2 * day))
	for _, side := range c.sides {
		c.is(nil, kit.Err(side.Decrypt(c.Context(), ciphertext, nil)))
	}
}

// graceEnd: an instance is renewed up to the end of its grace, by the clock of who renews.
func (c *clockCell) graceEnd() {
	first, expiry := c.instance("i1")
	second, _ := c.instance("i2")
	c.near(expiry.Add(15 * day))
	for i, side := range c.sides {
		ciphertext, id := [][]byte{first, second}[i], []string{"i1", "i2"}[i]
		c.is(ended(side.now, expiry), kit.Err(side.Decrypt(c.Context(), ciphertext, nil)))
		later := side.now.Add(month)
		if later.Before(expiry) {
			later = expiry.Add(month)
		}
		inTime := side.now.Before(expiry.Add(15 * day))
		c.is(unless(inTime, kms.ErrNotFound), kit.Err(side.RenewInstance(c.Context(), id, later)))
		if inTime {
			c.is(ended(side.now, later), kit.Err(side.Decrypt(c.Context(), ciphertext, nil)))
		}
	}
}
