package model_test

import (
	"slices"
	"time"

	"github.com/keyhold/kms"
)

// A modelReport is what a pass of Maintain did, by names in the order of the alphabet.
type modelReport struct {
	noted, waiting, purged, expired, rotated, retired []string // keys
	over, holding, released                           []string // instances

	corrected, righted []string // keys and instances of which a note was taken back; in no report
}

// maintain is what time asks for, done once.
func (m *model) maintain() (r modelReport) {
	for _, i := range m.instances {
		m.maintainInstance(i, &r)
	}
	for _, k := range m.keys {
		if k.home.released.IsZero() && !k.purged {
			m.maintainKey(k, &r)
		}
	}
	for _, list := range []*[]string{&r.noted, &r.waiting, &r.purged, &r.expired, &r.rotated, &r.retired, &r.over, &r.holding, &r.released} {
		slices.Sort(*list)
	}
	for _, list := range []struct {
		step  kms.Step
		names []string
	}{
		{kms.StepNoted, r.noted}, {kms.StepPurged, r.purged}, {kms.StepExpired, r.expired}, {kms.StepRotated, r.rotated}, {kms.StepRetired, r.retired}, {kms.StepCorrected, r.corrected},
		{kms.StepNoted, r.over}, {kms.StepReleased, r.released}, {kms.StepCorrected, r.righted},
	} {
		for _, name := range list.names {
			m.tell(list.step, name)
		}
	}
	return r
}

// waits tells what is to be done about a date that has passed and was seen to at seen: noted
// first; then, when the delay is over, the end. A note from the future is none.
func (m *model) waits(seen time.Time) (note, wait bool) {
	if m.delay <= 0 {
		return false, false
	}
	note = seen.IsZero() || seen.After(m.now)
	return note, !note && m.now.Before(seen.Add(m.delay))
}

func (m *model) maintainInstance(i *modelInstance, r *modelReport) {
	if !i.released.IsZero() {
		return
	}
	if !m.passed(m.ends(i)) {
		if !i.seen.IsZero() {
			r.righted = append(r.righted, i.name)
		}
		i.seen = time.Time{}
		return
	}
	switch note, wait := m.waits(i.seen); {
	case note:
		i.seen = m.now
		r.over = append(r.over, i.name)
	case wait:
		r.holding = append(r.holding, i.name)
	default:
		r.purged = append(r.purged, m.release(i)...)
		r.released = append(r.released, i.name)
	}
}

func (m *model) maintainKey(k *modelKey, r *modelReport) {
	if k.rest {
		k.rest = false
		r.expired = append(r.expired, k.name)
		return
	}
	if m.passed(k.deleteAt) {
		switch note, wait := m.waits(k.seen); {
		case note:
			k.seen = m.now
			r.noted = append(r.noted, k.name)
		case wait:
			r.waiting = append(r.waiting, k.name)
		default:
			k.purged = true
			r.purged = append(r.purged, k.name)
		}
		return
	}
	last := func() time.Time { return k.material[len(k.material)-1] }
	switch {
	case !k.seen.IsZero(), !k.overSeen.IsZero() && !m.passed(k.retireAt): // one step in each pass
		k.seen = time.Time{}
		if !m.passed(k.retireAt) {
			k.overSeen = time.Time{}
		}
		r.corrected = append(r.corrected, k.name)
	case len(k.material) > 0 && m.passed(k.until):
		k.material, k.until = nil, time.Time{}
		r.expired = append(r.expired, k.name)
	case k.days > 0 && m.state(k) == "Enabled" && k.live() < m.maxVersions && m.passed(last().Add(time.Duration(k.days)*24*time.Hour)):
		k.material = append(k.material, m.now)
		r.rotated = append(r.rotated, k.name)
	case m.passed(k.retireAt):
		switch note, wait := m.waits(k.overSeen); {
		case note:
			k.overSeen = m.now
			r.noted = append(r.noted, k.name)
		case wait:
			r.waiting = append(r.waiting, k.name)
		default:
			k.retired, k.retiring, k.retireAt, k.overSeen = k.retiring, 0, time.Time{}, time.Time{}
			r.retired = append(r.retired, k.name)
		}
	}
}
