package kms

import (
	"slices"
	"strings"
	"time"
)

// StateError says that a key's state refuses an operation. It matches ErrState where
// the operation would have changed the state, otherwise ErrDisabled or ErrPendingImport.
type StateError struct {
	refusal
	KeyID        string
	Op           Op
	State        State
	DeletionDate time.Time // zero unless the State is PendingDeletion
}

// PendingDeletionError says that a key is suspended until its deletion date. It matches
// ErrPendingDeletion.
type PendingDeletionError struct {
	refusal
	KeyID        string
	DeletionDate time.Time // until this instant, exclusive, the deletion can be cancelled
}

// ProtectedError says that deletion protection is on: of a key (Instance is ""), of the instance of
// a key (both are set), or, where an instance is to be released, of itself (KeyID is "") or of some
// of its keys (Keys is set). It matches ErrProtected.
type ProtectedError struct {
	refusal
	KeyID    string
	Instance string
	Keys     []string // of the instance: the first 100 that are protected
	Why      string   // the reason given when protection was switched on; "" with Keys
}

// InUseError says that something still depends on a key, or on keys of an instance that is to be
// released. It matches ErrInUse.
type InUseError struct {
	refusal
	KeyID      string // "" where an instance is to be released
	Dependents []Dependent
	Versions   []VersionUsage // those to be retired that were used lately
	Instance   string         // "" where a key is concerned
	Keys       []string       // of the instance: the first 100 that have dependents
}

// usedIn are the conditions under which a state refuses to be used or annotated.
var usedIn = [numStates]error{PendingImport: ErrPendingImport, Disabled: ErrDisabled, PendingDeletion: ErrPendingDeletion}

// originHints tell what to do where an operation is for the keys of one origin only.
var originHints = map[Origin]string{
	OriginKMS:      "A key of imported material has one version for ever. To move on, create another key and use ReEncrypt.",
	OriginExternal: "Only a key that was created with OriginExternal takes material, and gives it up alone.",
}

// purposeHints tell what to do where an operation is for keys of another usage or spec.
var purposeHints = map[purpose]string{
	forSealing:   "Only an AES key encrypts so, makes data keys and is rotated. An RSA key has AsymmetricEncrypt and AsymmetricDecrypt.",
	forSigning:   "Only a key of usage SIGN/VERIFY signs. A key's usage is chosen when it is created.",
	forMacs:      "Only a key of usage GENERATE/VERIFY_MAC makes MACs. A key's usage is chosen when it is created.",
	forOpening:   "Only an RSA key of usage ENCRYPT/DECRYPT does this. An AES key has Encrypt and Decrypt.",
	forPublicKey: "A symmetric key has no public half.",
}

func wrongPurpose(op Op, keyID string, needs purpose) error {
	return &refusal{op: op, keyID: keyID, cond: ErrUsage, hint: purposeHints[needs]}
}

// changeHints tell what to do where a change of state is refused.
var changeHints = [numStates]string{
	PendingImport:   "The key has no material yet: import it first.",
	Enabled:         "Disable the key with DisableKey and confirm that no data still depends on it, then schedule its deletion.",
	PendingDeletion: "The key is pending deletion: cancel that first with CancelKeyDeletion.",
}

func newStateRefusal(op Op, called naming, r *record, state State) error {
	id := r.id()
	if called == asChange {
		hint := changeHints[state]
		if op == OpCancelKeyDeletion {
			hint = "The key is not scheduled for deletion; there is nothing to cancel."
		}
		text := "it is " + state.String()
		e := &StateError{refusal: refusal{op: op, keyID: id, cond: ErrState, text: text, hint: hint}, KeyID: id, Op: op, State: state}
		if state == PendingDeletion {
			e.DeletionDate = r.DeleteAt
			e.text += " and will be deleted at " + instant(r.DeleteAt)
		}
		return e
	}
	if state == PendingDeletion {
		text := "it will be deleted at " + instant(r.DeleteAt)
		return &PendingDeletionError{refusal{op: op, keyID: id, cond: ErrPendingDeletion, text: text}, id, r.DeleteAt}
	}
	return &StateError{refusal: refusal{op: op, keyID: id, cond: usedIn[state]}, KeyID: id, Op: op, State: state}
}

func newProtectedError(op Op, id, why string) error {
	hint := ""
	if forced := forcedBy[op]; forced != "" {
		hint = "Switch the key's deletion protection off with SetDeletionProtection, then try again." + forced
	}
	return &ProtectedError{refusal: refusal{op: op, keyID: id, cond: ErrProtected, said: quoted(why), hint: hint}, KeyID: id, Why: why}
}

// forcedBy says how a call is done in spite of protection, where it is.
var forcedBy = map[Op]string{
	OpDeleteKeyMaterial: " Or set DeleteMaterialOptions.Force and give a Reason: the material can be imported again.",
	OpRetireKeyVersions: " Or set RetireOptions.Force and give a Reason.",
}

func newProtectedHome(op Op, id string, rec *instanceRecord) error {
	hint := "Switch the instance's deletion protection off with SetInstanceDeletionProtection, then try again."
	return &ProtectedError{refusal: refusal{op: op, keyID: id, cond: ErrProtected, text: "that of its instance " + rec.ID, said: quoted(rec.ProtectedWhy), hint: hint + forcedBy[op]},
		KeyID: id, Instance: rec.ID, Why: rec.ProtectedWhy}
}

func newProtectedKeys(op Op, instance string, keys named) error {
	return &ProtectedError{refusal: refusal{op: op, inst: instance, cond: ErrProtected, text: keys.text("key"),
		hint: "Switch the deletion protection of these keys off with SetDeletionProtection, or set ReleaseOptions.Force and give a Reason. PlanRelease names them."},
		Instance: instance, Keys: keys.first}
}

func newKeysInUse(op Op, instance string, keys named) error {
	return &InUseError{refusal: refusal{op: op, inst: instance, cond: ErrInUse, text: keys.text("key"),
		hint: "Confirm that no data still depends on these keys and remove their dependents with RemoveDependent, or set ReleaseOptions.Force and give a Reason. PlanRelease names them."},
		Instance: instance, Keys: keys.first}
}

func newInUseError(op Op, id string, dependents []Dependent) error {
	var names []string
	for _, d := range dependents[:min(3, len(dependents))] {
		names = append(names, quoted(d.Name))
	}
	text, said := count(len(dependents), "dependent"), strings.Join(names, ", ")
	if len(dependents) > len(names) {
		said += ", …"
	}
	return &InUseError{refusal: refusal{op: op, keyID: id, cond: ErrInUse, text: text, said: said}, KeyID: id, Dependents: slices.Clone(dependents)}
}

// ReadOnlyError says that a key is not to be changed by whoever called. It matches
// ErrReadOnly.
type ReadOnlyError struct {
	refusal
	KeyID   string
	Owner   Owner
	Service string // the code of the service whose key it is
}

func newProtectedInstance(op Op, rec *instanceRecord) error {
	return &ProtectedError{refusal: refusal{op: op, inst: rec.ID, cond: ErrProtected, said: quoted(rec.ProtectedWhy),
		hint: "Switch the instance's deletion protection off with SetInstanceDeletionProtection, then try again."}, Instance: rec.ID, Why: rec.ProtectedWhy}
}

// readOnlyHints tell what to do where a key is not to be changed.
var readOnlyHints = map[Owner]string{
	OwnerService:  "The key belongs to a service of the program and is managed by it. It is free to keep: leave it as it is if it is no longer needed.",
	OwnerCustomer: "The alias of the service names a key that the service did not make. Change that key through the Manager, under its ID.",
	OwnerLegacy:   "The key belongs to another system: here it decrypts what it encrypted, and is not changed. Bring it over with MigrateLegacyKey.",
}

func newReadOnlyError(op Op, r *record) error {
	text := map[Owner]string{
		OwnerService: "it is the key of the service " + r.Service, OwnerLegacy: "it is a key of another system",
		OwnerCustomer: "it is no key of a service",
	}[r.Owner]
	return &ReadOnlyError{refusal: refusal{op: op, keyID: r.id(), cond: ErrReadOnly, text: text, hint: readOnlyHints[r.Owner]},
		KeyID: r.id(), Owner: r.Owner, Service: r.Service}
}
