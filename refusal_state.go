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

// ProtectedError says that the deletion protection of a key, or of an instance, is on. It matches ErrProtected.
type ProtectedError struct {
	refusal
	KeyID    string // "" where an instance is protected
	Instance string // "" where a key is
	Why      string // the reason given when protection was switched on
}

// InUseError says that something still depends on a key. It matches ErrInUse.
type InUseError struct {
	refusal
	KeyID      string
	Dependents []Dependent
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
	return &ProtectedError{refusal: refusal{op: op, keyID: id, cond: ErrProtected, said: quoted(why)}, KeyID: id, Why: why}
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
	return &InUseError{refusal{op: op, keyID: id, cond: ErrInUse, text: text, said: said}, id, slices.Clone(dependents)}
}
