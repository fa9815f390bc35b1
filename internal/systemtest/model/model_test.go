// Package model_test holds the service to a model of it.
package model_test

import (
	"slices"
	"strings"
	"time"
)

// The model is the lifecycle written a second time, from docs/lifecycle.md alone: it shares no
// code with the package, keeps everything in plain fields and has no store, no cryptography and
// no concurrency. TestModel holds the service against it.
type model struct {
	now         time.Time
	delay       time.Duration // PurgeDelay
	grace       time.Duration
	maxVersions int
	hardware    bool // the keys are in hardware
	rows        map[string][]string
	keys        []*modelKey
	instances   map[string]*modelInstance
	aliases     map[string]*modelKey
	cells       map[modelCell]int // how often a cell of the table was asked
	force       bool              // the verb that is asked is forced
	told        map[string]int    // the steps that were taken because time asked for them
}

// A modelCell is a verb and the state of a key, seen from outside.
type modelCell struct{ verb, state string }

type modelKey struct {
	name      string // as transcripts call it
	home      *modelInstance
	service   string // whose key it is; "": the caller's
	external  bool   // its material is imported
	mac       bool   // it makes MACs, and else encrypts
	disabled  bool
	deleteAt  time.Time
	seen      time.Time // when Maintain saw the deletion date passed
	purged    bool
	material  []time.Time // when each version was made; none: there is no material
	until     time.Time   // when the material expires
	rest      bool        // there is expired material besides, which Maintain has yet to destroy
	bound     string      // the material that was imported first
	protected bool
	why       string
	users     []string // its dependents
	days      int      // of its rotation policy
	retired   int      // versions below it are destroyed
	retiring  int      // versions below it are suspended
	retireAt  time.Time
	overSeen  time.Time // when Maintain saw that date passed
	dim       time.Time
	label     string
	created   time.Time
}

type modelInstance struct {
	name      string
	expires   time.Time
	seen      time.Time // when Maintain saw the grace over
	released  time.Time // when its key was destroyed
	rooted    time.Time // when the root was last rotated
	protected bool
	mild      bool // and its keys are not
	forced    bool // its release was
	created   time.Time
}

// page is the table: what a verb answers where the key is PendingImport, Enabled, Disabled or
// PendingDeletion, and where its instance has expired ("self": what the other columns say).
// Then what the verb is: it changes the key, is for keys of the service's or of imported
// material only, for those that encrypt or that make MACs, is stopped by protection unless it is forced
// ("guarded"), and by dependents ("blocked").
const page = `
DescribeKey            ok               ok       ok          ok                  self
ListKeyVersions        ok               ok       ok          ok                  self
GenerateDataKey        ErrPendingImport ok       ErrDisabled ErrPendingDeletion  ErrInstanceExpired seals use
Encrypt                ErrPendingImport ok       ErrDisabled ErrPendingDeletion  ErrInstanceExpired seals use
Decrypt                ErrPendingImport ok       ErrDisabled ErrPendingDeletion  ErrInstanceExpired seals use
GenerateMac            ErrPendingImport ok       ErrDisabled ErrPendingDeletion  ErrInstanceExpired macs  use
EnableKey              ErrState         ok       ok          ErrState            ErrInstanceExpired change
DisableKey             ErrState         ok       ok          ErrState            self           change
ScheduleKeyDeletion    ok               ErrState ok          ErrState            ErrInstanceExpired change guarded blocked
CancelKeyDeletion      ErrState         ErrState ErrState    ok                  self           change
SetDeletionProtection  ok               ok       ok          ErrPendingDeletion  ErrInstanceExpired change
AddDependent           ok               ok       ok          ErrPendingDeletion  ErrInstanceExpired change
RemoveDependent        ok               ok       ok          ErrPendingDeletion  ErrInstanceExpired change
SetBrownout            ErrPendingImport ok       ErrDisabled ErrPendingDeletion  ErrInstanceExpired change
RotateKey              ErrPendingImport ok       ErrDisabled ErrPendingDeletion  ErrInstanceExpired change made seals
RetireKeyVersions      ErrState         ok       ok          ErrState            ErrInstanceExpired change made seals guarded
CancelRetirement       ErrState         ok       ok          ok                  self           change made seals
UpdateRotationPolicy   ErrPendingImport ok       ErrDisabled ErrPendingDeletion  ErrInstanceExpired change made seals
GetParametersForImport ok               ok       ok          ok                  ErrInstanceExpired change imported
ImportKeyMaterial      ok               ok       ok          ErrState            ErrInstanceExpired change imported
DeleteKeyMaterial      ok               ok       ok          ok                  ErrInstanceExpired change imported guarded
SetDescription         ok               ok       ok          ErrPendingDeletion  ErrInstanceExpired change
CreateAlias            ok               ok       ok          ErrPendingDeletion  ErrInstanceExpired change
UpdateAlias            ok               ok       ok          ErrPendingDeletion  ErrInstanceExpired change
`

// readPage gives the lines of the page by verb.
func readPage() map[string][]string {
	all := map[string][]string{}
	for line := range strings.Lines(page) {
		if words := strings.Fields(line); len(words) > 0 {
			all[words[0]] = words[1:]
		}
	}
	return all
}

const done = "ok"

// newModel is the model of a key store that is new at an instant.
func newModel(now time.Time, delay time.Duration, maxVersions int) *model {
	const home = "default"
	return &model{
		now: now, delay: delay, grace: 15 * day, maxVersions: maxVersions, rows: readPage(),
		instances: map[string]*modelInstance{home: {name: home, created: now}}, aliases: map[string]*modelKey{}, cells: map[modelCell]int{}, told: map[string]int{},
	}
}

// passed tells whether a date has come: at that instant, not after it.
func (m *model) passed(date time.Time) bool { return !date.IsZero() && !m.now.Before(date) }

// own is the state that a key has by itself.
func (m *model) own(k *modelKey) string {
	switch {
	case k.purged || m.passed(k.deleteAt):
		return "Deleted"
	case !k.deleteAt.IsZero():
		return "PendingDeletion"
	case len(k.material) == 0 || m.passed(k.until):
		return "PendingImport"
	case k.disabled:
		return "Disabled"
	}
	return "Enabled"
}

// ends is when an instance is Released by itself; zero: never.
func (m *model) ends(i *modelInstance) time.Time {
	if i.expires.IsZero() {
		return time.Time{}
	}
	return i.expires.Add(m.grace)
}

func (m *model) life(i *modelInstance) string {
	switch {
	case !i.released.IsZero() || m.passed(m.ends(i)):
		return "Released"
	case m.passed(i.expires):
		return "Expired"
	}
	return "Active"
}

func (m *model) gone(k *modelKey) bool {
	return m.own(k) == "Deleted" || m.life(k.home) == "Released"
}

// state is what a key is, seen from outside.
func (m *model) state(k *modelKey) string {
	switch {
	case m.gone(k):
		return "Deleted"
	case m.life(k.home) == "Expired":
		return "Unavailable"
	}
	return m.own(k)
}

// answers is what a verb answers of a key to a caller, who is the view of a service or "":
// done, or the conditions.
func (m *model) answers(verb string, k *modelKey, caller string) string {
	row := m.rows[verb]
	if k != nil {
		m.cells[modelCell{verb, m.state(k)}]++
	}
	is := func(word string) bool { return slices.Contains(row[5:], word) }
	switch {
	case k == nil || m.gone(k):
		return "ErrNotFound"
	case m.life(k.home) == "Expired" && row[4] != "self":
		return row[4]
	case is("change") && k.service != caller:
		return "ErrReadOnly"
	case is("made") && k.external, is("imported") && !k.external:
		return "ErrOrigin"
	case is("seals") && k.mac, is("macs") && !k.mac:
		return "ErrUsage"
	}
	var blocked []string
	if is("guarded") && m.guards(k) {
		blocked = append(blocked, "ErrProtected")
	}
	if is("blocked") && len(k.users) > 0 {
		blocked = append(blocked, "ErrInUse")
	}
	column := slices.Index([]string{"PendingImport", "Enabled", "Disabled", "PendingDeletion"}, m.own(k))
	if row[column] != done {
		blocked = append(blocked, row[column])
	}
	switch {
	case len(blocked) > 0:
		slices.Sort(blocked)
		return strings.Join(blocked, "+")
	case is("use") && m.now.Before(k.dim):
		return "ErrBrownout"
	}
	return done
}

// change does a verb that changes a key, if that is allowed, and effect does not answer
// otherwise. What changes a key drops the note of a date that has not passed.
func (m *model) change(verb string, k *modelKey, caller string, effect func() string) string {
	if refused := m.answers(verb, k, caller); refused != done {
		return refused
	}
	before := *k
	before.users, before.material = slices.Clone(k.users), slices.Clone(k.material)
	if refused := effect(); refused != done {
		*k = before
		return refused
	}
	if !k.equal(&before) && !m.passed(k.deleteAt) {
		k.seen = time.Time{}
	}
	if !k.equal(&before) && !m.passed(k.retireAt) {
		k.overSeen = time.Time{}
	}
	return done
}

func (k *modelKey) equal(other *modelKey) bool {
	a, b := *k, *other
	same := slices.Equal(a.users, b.users) && slices.Equal(a.material, b.material)
	a.users, a.material, b.users, b.material = nil, nil, nil, nil
	return same && modelFields(a) == modelFields(b)
}

// modelFields is all of a key that can be compared.
func modelFields(k modelKey) [12]any {
	return [12]any{k.retiring, k.retireAt, k.disabled, k.deleteAt, k.purged, k.until, k.bound, k.protected, k.why, k.days, k.dim, k.label}
}

// live is how many versions a key has that are not destroyed.
// guards says that protection refuses what would take the key away.
func (m *model) guards(k *modelKey) bool {
	return !m.force && (k.protected || k.home.protected && !k.home.mild)
}

func (k *modelKey) live() int { return len(k.material) - max(k.retired-1, 0) }

// lost is the version below which all are retired, whether or not they are destroyed.
func (m *model) lost(k *modelKey) int {
	if m.passed(k.retireAt) {
		return max(k.retired, k.retiring)
	}
	return k.retired
}

// named is the key that an alias names, unless that is gone; nil.
func (m *model) named(alias string) *modelKey {
	if k := m.aliases[alias]; k != nil && !m.gone(k) {
		return k
	}
	return nil
}
