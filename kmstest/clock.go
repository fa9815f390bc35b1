package kmstest

import (
	"sync"
	"time"
)

// Clock is a clock that stands still until it is moved. It begins at midnight UTC of
// 1 January 2026.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *Clock {
	return &Clock{now: time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)}
}

// Now tells the time. It is what the Manager has as Config.Now.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock, back if d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// AdvanceDays moves the clock by days of 24 hours.
func (c *Clock) AdvanceDays(days int) { c.Advance(time.Duration(days) * 24 * time.Hour) }

// Set sets the clock.
func (c *Clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}
