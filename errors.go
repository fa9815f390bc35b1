package kms

import (
	"strconv"
	"time"

	"github.com/cockroachdb/errors"
)

// A condition is what a caller matches with errors.Is. It has the code that the field
// knows for it and says what to do next.
type condition struct{ text, named, hint string }

func (c *condition) Error() string { return c.text }

// ErrorHint tells what to do about it.
func (c *condition) ErrorHint() string { return c.hint }

func (c *condition) code() string { return c.named }

// The conditions. Every refusal of this package matches at least one of them, with the
// standard library's errors.Is as well as with others. Nothing had changed when one
// was returned, but for ErrUnavailable, whose error says when the outcome is unknown, and
// for Maintain, whose report says what was done.
var (
	// ErrNotFound: no such key or alias, or the key is deleted.
	ErrNotFound error = &condition{"kms: not found", "Forbidden.KeyNotFound",
		"Check the key ID or alias. A key whose deletion date has passed is gone for good, and so is everything encrypted under it."}

	// ErrDisabled: the key is switched off.
	ErrDisabled error = &condition{"kms: the key is disabled", "Rejected.Disabled",
		"Enable the key with EnableKey, then try again."}

	// ErrPendingImport: the key has no material.
	ErrPendingImport error = &condition{"kms: the key has no material", "Rejected.PendingImport",
		"The key waits for its material: import it with ImportKeyMaterial. If it had any before, it takes the same and no other."}

	// ErrPendingDeletion: the key is suspended until its deletion date. The error is a
	// *PendingDeletionError.
	ErrPendingDeletion error = &condition{"kms: the key is pending deletion", "Rejected.PendingDeletion",
		"To use the key again, cancel the deletion with CancelKeyDeletion before the deletion date. From that date on nothing brings it back."}

	// ErrState: the key's state does not allow this change of it. The error is a
	// *StateError.
	ErrState error = &condition{"kms: the key's state does not allow this change", "Rejected.StateModifiedFailed",
		"See the table of states in the package documentation."}

	// ErrProtected: deletion protection is on. The error is a *ProtectedError.
	ErrProtected error = &condition{"kms: deletion protection is on", "Rejected.DeletionProtected",
		"Switch deletion protection off with SetDeletionProtection, then try again."}

	// ErrInUse: something was registered that still depends on the key. The error is an
	// *InUseError.
	ErrInUse error = &condition{"kms: something still depends on the key", "Rejected.InUse",
		"Confirm that no data still depends on the key, remove its dependents with RemoveDependent, then try again."}

	// ErrWindow: a deletion date must be 7 to 366 days ahead.
	ErrWindow error = &condition{"kms: the deletion window is not 7 to 366 days", "InvalidParameter",
		"Choose a window of 7 to 366 days. A key is never deleted at once."}

	// ErrCiphertext: this is no ciphertext of this key store under that encryption
	// context. It is the one answer to all that can be wrong with a ciphertext.
	ErrCiphertext error = &condition{"kms: the ciphertext cannot be opened", "InvalidCiphertext",
		"Give the ciphertext unchanged and the encryption context that it was made with."}

	// ErrSignature: this is no signature, or no MAC, of this key for that message.
	ErrSignature error = &condition{"kms: the signature or MAC is not valid", "InvalidSignature",
		"Do not trust the message. If you do, check that key, algorithm and message are those that were signed."}

	// ErrInvalid: an argument is out of its bounds. The error says which.
	ErrInvalid error = &condition{"kms: an argument is not valid", "InvalidParameter",
		"Correct the argument that the error names."}

	// ErrExists: the alias is taken.
	ErrExists error = &condition{"kms: the alias is taken", "AliasAlreadyExists",
		"Choose another alias, or point this one at the key with UpdateAlias."}

	// ErrUnsupported: the key or the configuration does not offer this.
	ErrUnsupported error = &condition{"kms: not supported", "UnsupportedOperation",
		"Choose a spec, origin and protection level that this Manager offers."}

	// ErrLimit: the key has as many versions as it may have.
	ErrLimit error = &condition{"kms: the key has no room for a further version", "Rejected.LimitExceeded",
		"Raise Config.MaxKeyVersions, or move on to a new key with ReEncrypt."}

	// ErrMaterial: this is not the key's material. It is the one answer to all that can be
	// wrong with wrapped material.
	ErrMaterial error = &condition{"kms: not the material of this key", "InvalidKeyMaterial",
		"Wrap the material anew, as the parameters for import say. A key takes only the material that was imported first."}

	// ErrImportToken: the import token is of another key, was changed, or is too old.
	ErrImportToken error = &condition{"kms: the import token is not valid", "InvalidImportToken",
		"Get new parameters with GetParametersForImport. They are good for 24 hours, and for that key alone."}

	// ErrDenied: Config.Authorize said no; its error is wrapped.
	ErrDenied error = &condition{"kms: the caller is not allowed to do this", "Forbidden.NoPermission",
		"Ask whoever set Config.Authorize."}

	// ErrUnavailable: the key store or the provider could not answer. The error is an
	// *UnavailableError and wraps the cause.
	ErrUnavailable error = &condition{"kms: unavailable", "Rejected.Unavailable",
		"Try again when the key store and the provider can be reached."}

	// ErrTampered: a record is not as this service wrote it. Only its key is stopped.
	ErrTampered error = &condition{"kms: a record was changed behind the service's back", "InternalFailure.Tampered",
		"Keep the store as evidence, find out who can write to it, and bring the record back from a copy that you trust."}

	// ErrRoot: the root does not open the instance key.
	ErrRoot error = &condition{"kms: the root does not open the key store", "InternalFailure.Root",
		"Give the root that this key store was made with, or the new one if its rotation was finished."}
)

// errRecord is what the parsers of records say; whoever reads a record turns it into
// ErrTampered.
var errRecord = errors.New("kms: malformed record")

// A refusal is what every error of this package holds.
type refusal struct {
	op    Op
	keyID string // "": none, or not known to be one
	cond  error
	text  string // what is to be said beyond the condition; no input, no secret
	said  string // what callers once said of the key, quoted
	hint  string // "": the condition's
	cause error
}

// Error tells the operation, the key and what was refused.
func (e *refusal) Error() string {
	s := e.place() + e.brief()
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

func (e *refusal) place() string {
	if e.keyID == "" {
		return "kms: " + e.op.String() + ": "
	}
	return "kms: " + e.op.String() + ": key " + e.keyID + ": "
}

// condition is the text of the condition, without the package's name.
func (e *refusal) condition() string {
	if e.cond == nil {
		return "refused"
	}
	return e.cond.Error()[len("kms: "):]
}

// Is makes errors.Is find the condition.
func (e *refusal) Is(target error) bool { return e.cond != nil && target == e.cond }

// Unwrap returns the cause, if there is one.
func (e *refusal) Unwrap() error { return e.cause }

// ErrorHint tells what to do about it.
func (e *refusal) ErrorHint() string {
	if c, ok := e.cond.(*condition); ok && e.hint == "" {
		return c.hint
	}
	return e.hint
}

// SafeFormatError lets reports keep the text, but for what callers once said; the cause is
// left to its own rules.
func (e *refusal) SafeFormatError(p errors.Printer) error {
	p.Print(errors.Safe(e.place()))
	e.report(p)
	return e.cause
}

// report prints what brief says, and marks what reports may keep.
func (e *refusal) report(p errors.Printer) {
	p.Print(errors.Safe(e.condition()))
	if e.text != "" {
		p.Print(errors.Safe(": " + e.text))
	}
	if e.said != "" {
		p.Print(errors.Safe(": "), e.said)
	}
}

func (e *refusal) code() string {
	if c, ok := e.cond.(*condition); ok {
		return c.named
	}
	return ""
}

func refuse(op Op, keyID string, cond error) error {
	return &refusal{op: op, keyID: keyID, cond: cond}
}

func refuseBecause(op Op, keyID string, cond error, text string, cause error) error {
	return &refusal{op: op, keyID: keyID, cond: cond, text: text, cause: cause}
}

func invalid(op Op, text string) error {
	return &refusal{op: op, cond: ErrInvalid, text: text}
}

// Code returns the code of err, such as "Rejected.Disabled", under which the cloud
// services know it, or "" if err is not of this package. DeletionProtected, InUse,
// InvalidCiphertext, InvalidSignature and InternalFailure.* are our own: no service documents one.
func Code(err error) string {
	var c interface{ code() string }
	if errors.As(err, &c) {
		return c.code()
	}
	return ""
}

// Hint returns what to do about err, in a sentence or more, or "" if err is not of this
// package.
func Hint(err error) string {
	var h interface {
		code() string
		ErrorHint() string
	}
	if errors.As(err, &h) {
		return h.ErrorHint()
	}
	return ""
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}
