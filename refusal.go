package kms

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/errors"
)

// StateError says that a key's state refuses an operation. It matches ErrState where
// the operation would have changed the state or given the key an alias, otherwise
// ErrDisabled or ErrPendingImport.
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

// ProtectedError says that a key's deletion protection is on. It matches ErrProtected.
type ProtectedError struct {
	refusal
	KeyID string
	Why   string // the reason given when protection was switched on
}

// InUseError says that something still depends on a key. It matches ErrInUse.
type InUseError struct {
	refusal
	KeyID      string
	Dependents []Dependent
}

// UnavailableError says that the key store or the provider could not answer. It matches
// ErrUnavailable and whatever Err matches.
type UnavailableError struct {
	refusal
	KeyID   string // "" where no single key is concerned
	Unknown bool   // the change may have been made all the same: look before repeating it
	Err     error
}

// BlockedError says that more than one thing stands in the way. It matches the condition
// of each of them, and errors.As finds each of their types. Its Code is that of the first,
// its Hint all of theirs.
type BlockedError struct {
	KeyID    string
	Op       Op
	Blockers []error
}

// Error lists all that stands in the way.
func (e *BlockedError) Error() string {
	var b strings.Builder
	b.WriteString("kms: " + e.Op.String() + ": key " + e.KeyID + ": " + count(len(e.Blockers), "thing") + " in the way")
	for i, err := range e.Blockers {
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		if r := refusalOf(err); r != nil {
			b.WriteString(r.brief())
		}
	}
	return b.String()
}

// Unwrap returns all that stands in the way.
func (e *BlockedError) Unwrap() []error { return e.Blockers }

// ErrorHint tells what to do about each.
func (e *BlockedError) ErrorHint() string {
	hints := make([]string, len(e.Blockers))
	for i, err := range e.Blockers {
		hints[i] = Hint(err)
	}
	return strings.Join(hints, " ")
}

// SafeFormatError lets reports keep the text, but for what callers once said.
func (e *BlockedError) SafeFormatError(p errors.Printer) error {
	p.Print(errors.Safe("kms: " + e.Op.String() + ": key " + e.KeyID + ": " + count(len(e.Blockers), "thing") + " in the way"))
	for _, err := range e.Blockers {
		if r := refusalOf(err); r != nil {
			p.Print(errors.Safe("; "))
			r.report(p)
		}
	}
	return nil
}

func (e *BlockedError) code() string {
	if len(e.Blockers) == 0 {
		return ""
	}
	return Code(e.Blockers[0])
}

// brief is the refusal without operation, key and cause.
func (e *refusal) brief() string {
	s := e.condition()
	for _, more := range []string{e.text, e.said} {
		if more != "" {
			s += ": " + more
		}
	}
	return s
}

func (e *refusal) self() *refusal { return e }

// refusedAs tells whether err is a refusal of this package for that condition. Unlike
// errors.Is it does not look into causes, which others choose.
func refusedAs(err, cond error) bool {
	r := refusalOf(err)
	return r != nil && r.cond == cond
}

func refusalOf(err error) *refusal {
	var r interface{ self() *refusal }
	if errors.As(err, &r) {
		return r.self()
	}
	return nil
}

func blocked(op Op, keyID string, blockers []error) error {
	switch len(blockers) {
	case 0:
		return nil
	case 1:
		return blockers[0]
	default:
		return &BlockedError{KeyID: keyID, Op: op, Blockers: blockers}
	}
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
	forSealing:   "Only a key of AES_256 encrypts so, makes data keys and is rotated. An RSA key has AsymmetricEncrypt and AsymmetricDecrypt.",
	forSigning:   "Only a key of usage SIGN/VERIFY signs. A key's usage is chosen when it is created.",
	forMacs:      "Only a key of usage GENERATE/VERIFY_MAC makes MACs. A key's usage is chosen when it is created.",
	forOpening:   "Only an RSA key of usage ENCRYPT/DECRYPT does this. A key of AES_256 has Encrypt and Decrypt.",
	forPublicKey: "A symmetric key has no public half.",
}

func wrongPurpose(op Op, keyID string, needs purpose) error {
	return &refusal{op: op, keyID: keyID, cond: ErrUnsupported, text: "the spec or usage of the key", hint: purposeHints[needs]}
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
	return &ProtectedError{refusal{op: op, keyID: id, cond: ErrProtected, said: quoted(why)}, id, why}
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

// quoted is what callers said, fit for one line of an error.
func quoted(s string) string {
	if s == "" {
		return ""
	}
	const most = 80
	if runes := []rune(s[:min(len(s), utf8.UTFMax*(most+1))]); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return strconv.Quote(s)
}

func unavailable(op Op, keyID, text string, cause error) error {
	return &UnavailableError{refusal{op: op, keyID: keyID, cond: ErrUnavailable, text: text, cause: cause}, keyID, false, cause}
}

func outcomeUnknown(op Op, keyID string, cause error) error {
	return &UnavailableError{refusal{op: op, keyID: keyID, cond: ErrUnavailable, text: "the outcome is unknown", cause: cause,
		hint: "Look at the key before you repeat the call: the change may have been made."}, keyID, true, cause}
}
