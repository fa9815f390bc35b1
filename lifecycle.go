package kms

import (
	"context"
	"time"
)

// A rule is a row of the table: what an operation makes of a key in each state. A
// blank cell refuses, and called says by what name. While a key is Unavailable, that cell has
// to allow the operation, and so has the cell of the state that the key has by itself.
type rule struct {
	next     [numStates]State
	kind     kind
	called   naming
	protects bool    // deletion protection refuses it, of the key or of its instance, unless it is forced
	blocks   bool    // dependents refuse it, too
	adds     bool    // it may make a record longer, and is refused if there is no room left
	origin   Origin  // the only origin whose keys it may be done to; "": any
	needs    purpose // the only keys it may be done to: those for one of these; 0: any
}

// kind is what an operation is to a key. Keys that are read-only refuse to be changed.
type kind uint8

const (
	reading kind = iota
	using
	opening // a use of what was made before: the only one of keys of other systems
	changing
)

// isUse tells whether an operation does cryptography with a key.
func (row *rule) isUse() bool { return row.kind == using || row.kind == opening }

type naming uint8

const (
	byState  naming = iota // one uses or annotates: the refusal is the state's own condition
	asChange               // one changes the state: the refusal is ErrState
)

// Rows that several operations share.
var (
	reads     = rule{next: [numStates]State{PendingImport: same, Enabled: same, Disabled: same, PendingDeletion: same, Unavailable: asFacts}}
	uses      = [numStates]State{Enabled: same}
	seal      = rule{next: uses, kind: using, needs: forSealing}
	unseal    = rule{next: uses, kind: opening, needs: forSealing}
	annotates = rule{next: [numStates]State{PendingImport: same, Enabled: same, Disabled: same}, kind: changing}
	says      = rule{next: annotates.next, kind: changing, adds: true}
)

// lifecycle is the state machine. Operations that have no key have no cells.
var lifecycle = [numOps]rule{
	OpCreateKey:                       {adds: true},
	OpMigrateLegacyKey:                {adds: true},
	OpRestore:                         {adds: true},
	OpDescribeKey:                     reads,
	OpListKeyVersions:                 reads,
	OpGetKeyUsage:                     reads,
	OpPlanDeletion:                    reads,
	OpGenerateDataKey:                 seal,
	OpGenerateDataKeyWithoutPlaintext: seal,
	OpEncrypt:                         seal,
	OpDecrypt:                         unseal,
	OpReEncryptFrom:                   unseal,
	OpReEncryptTo:                     seal,
	OpSign:                            {next: uses, kind: using, needs: forSigning},
	OpVerify:                          {next: uses, kind: using, needs: forSigning},
	OpGenerateMac:                     {next: uses, kind: using, needs: forMacs},
	OpVerifyMac:                       {next: uses, kind: using, needs: forMacs},
	OpAsymmetricEncrypt:               {next: uses, kind: using, needs: forOpening},
	OpAsymmetricDecrypt:               {next: uses, kind: using, needs: forOpening},
	OpGetPublicKey:                    {next: [numStates]State{Enabled: same, Disabled: same}, kind: using, needs: forPublicKey},
	OpEnableKey:                       {next: [numStates]State{Enabled: same, Disabled: Enabled}, kind: changing, called: asChange},
	OpDisableKey: {next: [numStates]State{Enabled: Disabled, Disabled: same, Unavailable: asFacts},
		kind: changing, called: asChange},
	OpScheduleKeyDeletion: {next: [numStates]State{PendingImport: PendingDeletion, Disabled: PendingDeletion},
		kind: changing, called: asChange, protects: true, blocks: true},
	OpCancelKeyDeletion: {next: [numStates]State{PendingDeletion: asFacts, Unavailable: asFacts},
		kind: changing, called: asChange},
	OpSetDeletionProtection: annotates,
	OpAddDependent:          says,
	OpRemoveDependent:       annotates,
	OpSetBrownout:           {next: uses, kind: changing},
	OpRotateKey:             {next: uses, kind: changing, origin: OriginKMS, needs: forSealing, adds: true},
	OpUpdateRotationPolicy:  {next: uses, kind: changing, origin: OriginKMS, needs: forSealing},
	OpRetireKeyVersions: {next: [numStates]State{Enabled: same, Disabled: same},
		kind: changing, called: asChange, origin: OriginKMS, needs: forSealing, protects: true},
	OpCancelRetirement: {next: [numStates]State{Enabled: same, Disabled: same, PendingDeletion: same, Unavailable: asFacts},
		kind: changing, called: asChange, origin: OriginKMS, needs: forSealing},
	OpGetParametersForImport: {next: [numStates]State{PendingImport: same, Enabled: same, Disabled: same, PendingDeletion: same}, kind: changing, origin: OriginExternal},
	OpImportKeyMaterial: {next: [numStates]State{PendingImport: asFacts, Enabled: same, Disabled: same},
		kind: changing, called: asChange, origin: OriginExternal, adds: true},
	OpDeleteKeyMaterial: {next: [numStates]State{PendingImport: same, Enabled: PendingImport, Disabled: PendingImport, PendingDeletion: same},
		kind: changing, called: asChange, origin: OriginExternal, protects: true},
	OpSetDescription: says,
	OpSetTags:        says,
	OpCreateAlias:    annotates,
	OpUpdateAlias:    annotates,
	OpDeleteAlias:    {next: reads.next, kind: changing},
}

// EnableKey makes a Disabled key Enabled. On an Enabled key it does nothing. It is
// refused with ErrState where the key is PendingDeletion (cancel that first) or has no
// material.
//
// By what the key is, it is refused with ErrInstanceExpired, ErrNotFound, ErrReadOnly and
// ErrState.
func (m *Manager) EnableKey(ctx context.Context, ref string) (Key, error) {
	return m.update(ctx, OpEnableKey, ref, nil, enable)
}

func enable(_ *call, r *record) error {
	r.Disabled, r.DisabledAt = false, time.Time{}
	return nil
}

// DisableKey makes an Enabled key Disabled: it does no cryptography until it is enabled
// again. On a Disabled key it does nothing. It is refused with ErrState where the key
// is PendingDeletion or has no material.
//
// By what the key is, it is refused with ErrNotFound, ErrReadOnly and ErrState.
func (m *Manager) DisableKey(ctx context.Context, ref string) (Key, error) {
	return m.update(ctx, OpDisableKey, ref, nil, disable)
}

func disable(c *call, r *record) error {
	if !r.Disabled {
		r.Disabled, r.DisabledAt = true, c.now()
	}
	return nil
}
