package kms

import (
	"context"
	"time"
)

// State is what a key is at an instant. It is never stored: it follows from the facts
// of the key's record and the clock. The zero State is none.
type State uint8

// The states of a key. Only an Enabled key does cryptography.
const (
	stateNone State = iota

	// PendingImport: the key has no material.
	PendingImport

	// Enabled: the key does what it is for.
	Enabled

	// Disabled: switched off, until it is enabled again.
	Disabled

	// PendingDeletion: suspended until its deletion date, and until then to be had
	// back by CancelKeyDeletion.
	PendingDeletion

	// Deleted: the deletion date has come. Such a key answers every call with
	// ErrNotFound, whether or not anything ran since.
	Deleted

	numStates

	same    // in the table: the state stays what it is
	asFacts // in the table: the state that the other facts give
)

var stateNames = [...]string{
	stateNone: "none", PendingImport: "PendingImport", Enabled: "Enabled", Disabled: "Disabled",
	PendingDeletion: "PendingDeletion", Deleted: "Deleted", numStates: "none", same: "same", asFacts: "as its facts say",
}

// String returns the state's name, such as "PendingDeletion".
func (s State) String() string {
	if int(s) >= len(stateNames) {
		return "none"
	}
	return stateNames[s]
}

// facts are what decides about a key, besides the clock.
type facts struct {
	material  bool      // there is material to work with
	until     time.Time // when the material expires; zero: never
	disabled  bool      // its owner switched it off
	deleteAt  time.Time // when it is deleted; zero: not scheduled
	destroyed bool      // it was purged
}

// state is the one place that turns facts into a state, by precedence.
func (f facts) state(now time.Time) State {
	switch {
	case f.destroyed || f.due(now):
		return Deleted
	case !f.deleteAt.IsZero():
		return PendingDeletion
	case !f.material || f.expired(now):
		return PendingImport
	case f.disabled:
		return Disabled
	default:
		return Enabled
	}
}

// due tells whether the deletion date has come: at that instant, not after it.
func (f facts) due(now time.Time) bool {
	return !f.deleteAt.IsZero() && !now.Before(f.deleteAt)
}

// expired tells whether the material's time is over: at that instant, not after it.
func (f facts) expired(now time.Time) bool {
	return !f.until.IsZero() && !now.Before(f.until)
}

// A rule is a row of the table: what an operation makes of a key in each state. A
// blank cell refuses, and called says by what name.
type rule struct {
	next   [numStates]State
	called naming
	blocks bool    // protection and dependents refuse it, too
	origin Origin  // the only origin whose keys it may be done to; "": any
	needs  purpose // the only keys it may be done to: those for one of these; 0: any
}

type naming uint8

const (
	byState  naming = iota // one uses or annotates: the refusal is the state's own condition
	asChange               // one changes the state: the refusal is ErrState
)

// Rows that several operations share.
var (
	reads     = rule{next: [numStates]State{PendingImport: same, Enabled: same, Disabled: same, PendingDeletion: same}}
	uses      = [numStates]State{Enabled: same}
	seal      = rule{next: uses, needs: forSealing}
	annotates = rule{next: [numStates]State{PendingImport: same, Enabled: same, Disabled: same}}
	names     = rule{next: annotates.next, called: asChange}
)

// lifecycle is the state machine. Operations that have no key have no row.
var lifecycle = [numOps]rule{
	OpDescribeKey:                     reads,
	OpListKeyVersions:                 reads,
	OpGenerateDataKey:                 seal,
	OpGenerateDataKeyWithoutPlaintext: seal,
	OpEncrypt:                         seal,
	OpDecrypt:                         seal,
	OpReEncryptFrom:                   seal,
	OpReEncryptTo:                     seal,
	OpSign:                            {next: uses, needs: forSigning},
	OpVerify:                          {next: uses, needs: forSigning},
	OpGenerateMac:                     {next: uses, needs: forMacs},
	OpVerifyMac:                       {next: uses, needs: forMacs},
	OpAsymmetricEncrypt:               {next: uses, needs: forOpening},
	OpAsymmetricDecrypt:               {next: uses, needs: forOpening},
	OpGetPublicKey:                    {next: [numStates]State{Enabled: same, Disabled: same}, needs: forPublicKey},
	OpEnableKey:                       {next: [numStates]State{Enabled: same, Disabled: Enabled}, called: asChange},
	OpDisableKey:                      {next: [numStates]State{Enabled: Disabled, Disabled: same}, called: asChange},
	OpScheduleKeyDeletion: {next: [numStates]State{PendingImport: PendingDeletion, Disabled: PendingDeletion},
		called: asChange, blocks: true},
	OpCancelKeyDeletion:      {next: [numStates]State{PendingDeletion: asFacts}, called: asChange},
	OpSetDeletionProtection:  annotates,
	OpAddDependent:           annotates,
	OpRemoveDependent:        annotates,
	OpRotateKey:              {next: uses, origin: OriginKMS, needs: forSealing},
	OpUpdateRotationPolicy:   {next: uses, origin: OriginKMS, needs: forSealing},
	OpGetParametersForImport: {next: reads.next, origin: OriginExternal},
	OpImportKeyMaterial: {next: [numStates]State{PendingImport: Enabled, Enabled: same, Disabled: same},
		called: asChange, origin: OriginExternal},
	OpDeleteKeyMaterial: {next: [numStates]State{PendingImport: same, Enabled: PendingImport, Disabled: PendingImport, PendingDeletion: same},
		called: asChange, origin: OriginExternal},
	OpSetDescription: annotates,
	OpSetTags:        annotates,
	OpCreateAlias:    names,
	OpUpdateAlias:    annotates,
	OpDeleteAlias:    reads,
}

// allow decides whether op may be done to the key of r at now. It is the only place
// that refuses because of what a key is. Where several things stand in the way of a
// deletion, the refusal holds them all.
func (r *record) allow(op Op, now time.Time) error {
	state := r.facts().state(now)
	if state == Deleted {
		return refuse(op, r.id(), ErrNotFound)
	}
	row := &lifecycle[op]
	if row.origin != "" && r.Origin != row.origin {
		return &refusal{op: op, keyID: r.id(), cond: ErrUnsupported, text: "the origin of the key's material", hint: originHints[row.origin]}
	}
	if row.needs != 0 && r.purpose()&row.needs == 0 {
		return wrongPurpose(op, r.id(), row.needs)
	}
	if row.next[state] != stateNone && !row.blocks {
		return nil
	}
	var blockers []error
	if row.blocks && r.Protected {
		blockers = append(blockers, newProtectedError(op, r.id(), r.ProtectedWhy))
	}
	if row.blocks && len(r.Dependents) > 0 {
		blockers = append(blockers, newInUseError(op, r.id(), r.Dependents))
	}
	if row.next[state] == stateNone {
		blockers = append(blockers, newStateRefusal(op, row.called, r, state))
	}
	return blocked(op, r.id(), blockers)
}

// EnableKey makes a Disabled key Enabled. On an Enabled key it does nothing. It is
// refused with ErrState where the key is PendingDeletion (cancel that first) or has no
// material.
func (m *Manager) EnableKey(ctx context.Context, ref string) (Key, error) {
	return m.update(ctx, OpEnableKey, ref, nil, func(_ *call, r *record) error {
		r.Disabled = false
		return nil
	})
}

// DisableKey makes an Enabled key Disabled: it does no cryptography until it is enabled
// again. On a Disabled key it does nothing. It is refused with ErrState where the key
// is PendingDeletion or has no material.
func (m *Manager) DisableKey(ctx context.Context, ref string) (Key, error) {
	return m.update(ctx, OpDisableKey, ref, nil, func(_ *call, r *record) error {
		r.Disabled = true
		return nil
	})
}
