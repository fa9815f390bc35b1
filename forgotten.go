package kms

import "time"

// A forgetting is that the last material went from a record, and the generation of the
// instance key that had sealed it at the latest: what an older generation opens is older media.
type forgetting struct {
	At         time.Time `json:"at"`
	Generation uint64    `json:"generation,omitempty"`
}

// forget notes that nothing is left in a tombstone that leads to material.
func (r *record) forget(now time.Time) {
	r.Doomed = nil
	if !r.DestroyedAt.IsZero() {
		r.Forgotten = &forgetting{At: now, Generation: r.in.generation}
	}
}

// forgotten is when nothing was left. Tombstones of before there was a note of it are of the
// first generation: nothing had another.
func (r *record) forgotten() forgetting {
	if r.Forgotten == nil {
		return forgetting{At: r.DestroyedAt}
	}
	return *r.Forgotten
}
