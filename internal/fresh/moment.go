package fresh

import "time"

// Moment is a clock and the time that it gave to one call. The clock is read when the time is first
// asked for: a use of a key on which no date bears does without.
type Moment struct {
	Clock func() time.Time // nil: time.Now
	At    time.Time        // as it was read, with its monotonic reading; zero: it was not yet
}

// Began returns the time of the call.
func (m *Moment) Began() time.Time {
	if m.At.IsZero() {
		m.Reread()
	}
	return m.At
}

// Reread reads the clock again.
func (m *Moment) Reread() {
	if m.Clock == nil {
		m.At = time.Now()
		return
	}
	m.At = m.Clock()
}
