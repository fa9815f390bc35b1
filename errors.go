package kms

import (
	"github.com/cockroachdb/errors"
)

// A condition is what a caller matches with errors.Is. It has the code that the field
// knows for it and says what to do next. A condition that is a case of a wider one matches that, too.
type condition struct {
	text, named, hint string
	also              error // the wider condition; nil: there is none
}

func (c *condition) Error() string { return c.text }

// Is makes errors.Is find the wider condition.
func (c *condition) Is(target error) bool { return c.also != nil && target == c.also }

// ErrorHint tells what to do about it.
func (c *condition) ErrorHint() string { return c.hint }

func (c *condition) code() string { return c.named }

// The conditions. Every refusal of this package matches at least one of them, with the
// standard library's errors.Is as well as with others. Nothing had changed when one was returned,
// except with ErrUnavailable and ErrCanceled. Their error says if the outcome of a write is unknown,
// and a call that takes several writes (Maintain, RotateRoot, Shred, ReleaseInstance, Restore, Rewrap,
// and one that makes a key for its alias) may have ended between two: repeat it.
var (
	// ErrNotFound: no such key or alias, or the key is deleted.
	ErrNotFound error = &condition{"kms: not found", "Forbidden.KeyNotFound",
		"Check the key ID or alias. A key whose deletion date has passed is gone for good, and so is everything encrypted under it.", nil}

	// ErrDisabled: the key is switched off.
	ErrDisabled error = &condition{"kms: the key is disabled", "Rejected.Disabled",
		"Enable the key with EnableKey, then try again.", nil}

	// ErrPendingImport: the key has no material.
	ErrPendingImport error = &condition{"kms: the key has no material", "Rejected.PendingImport",
		"The key waits for its material: import it with ImportKeyMaterial. If it had any before, it takes the same and no other.", nil}

	// ErrPendingDeletion: the key is suspended until its deletion date. The error is a
	// *PendingDeletionError.
	ErrPendingDeletion error = &condition{"kms: the key is pending deletion", "Rejected.PendingDeletion",
		"To use the key again, cancel the deletion with CancelKeyDeletion before the deletion date. From that date on nothing brings it back.", nil}

	// ErrState: the state does not allow this change of the key. The error is a *StateError.
	ErrState error = &condition{"kms: the key's state does not allow this change", "Rejected.StateModifiedFailed",
		"See the table of states in the package documentation.", nil}

	// ErrProtected: deletion protection is on. The error is a *ProtectedError.
	ErrProtected error = &condition{"kms: deletion protection is on", "Rejected.DeletionProtected",
		"Switch deletion protection off with SetDeletionProtection, then try again.", nil}

	// ErrInUse: something was registered that still depends on the key. The error is an
	// *InUseError.
	ErrInUse error = &condition{"kms: something still depends on the key", "Rejected.InUse",
		"Confirm that no data still depends on the key, remove its dependents with RemoveDependent, then try again.", nil}

	// ErrWindow: a deletion date must be 7 to 366 days ahead.
	ErrWindow error = &condition{"kms: the deletion window is not 7 to 366 days", "InvalidParameter",
		"Choose a window of 7 to 366 days. A key is never deleted at once.", nil}

	// ErrCiphertext: this is no ciphertext of this key store under that encryption
	// context. It is the one answer to all that can be wrong with a ciphertext.
	ErrCiphertext error = &condition{"kms: the ciphertext cannot be opened", "InvalidCiphertext",
		"Give the ciphertext unchanged and the encryption context that it was made with. " +
			"A ciphertext of another system is opened only while Config.Legacy has a source of its scheme, also after its key was taken over; a source without keys is enough then.", nil}

	// ErrSignature: this is no signature, or no MAC, of this key for that message.
	ErrSignature error = &condition{"kms: the signature or MAC is not valid", "InvalidSignature",
		"Do not trust the message. If you do, check that key, algorithm and message are those that were signed.", nil}

	// ErrInvalid: an argument is out of its bounds. The error says which.
	ErrInvalid error = &condition{"kms: an argument is not valid", "InvalidParameter",
		"Correct the argument that the error names.", nil}

	// ErrExists: the alias, or the ID of an instance, is taken.
	ErrExists error = &condition{"kms: the name is taken", "AliasAlreadyExists",
		"Choose another alias, or point this one at the key with UpdateAlias.", nil}

	// ErrUnsupported: the key or the configuration does not offer this. ErrUsage and ErrOrigin are
	// cases of it.
	ErrUnsupported error = &condition{"kms: not supported", "UnsupportedOperation",
		"Choose a spec, origin and protection level that this Manager offers.", nil}

	// ErrUsage: the spec or the usage of the key does not allow this. It matches ErrUnsupported, too.
	ErrUsage error = &condition{"kms: the key's spec or usage does not allow this", "UnsupportedOperation",
		"Name a key of a spec and a usage that allow it. Both are chosen when a key is created.", ErrUnsupported}

	// ErrOrigin: the origin of the key's material does not allow this: it was imported, or it was
	// not. It matches ErrUnsupported, too.
	ErrOrigin error = &condition{"kms: the origin of the key's material does not allow this", "UnsupportedOperation",
		"Name a key of the other origin. The origin is chosen when a key is created.", ErrUnsupported}

	// ErrLimit: the key has as many versions as it may have, its annotations or its versions take
	// as many bytes as they may, or its version in hardware has encrypted as often as it may.
	// The error says which.
	ErrLimit error = &condition{"kms: a limit of the key is reached", "Rejected.LimitExceeded",
		"Retire versions that nothing needs any more with RetireKeyVersions, raise Config.MaxKeyVersions, or move on to a new key with ReEncrypt.", nil}

	// ErrMaterial: this is not the key's material. It is the one answer to all that can be
	// wrong with wrapped material.
	ErrMaterial error = &condition{"kms: not the material of this key", "InvalidKeyMaterial",
		"Wrap the material anew, as the parameters for import say. A key takes only the material that was imported first.", nil}

	// ErrImportToken: the import token is of another key, was changed, or is too old.
	ErrImportToken error = &condition{"kms: the import token is not valid", "InvalidImportToken",
		"Get new parameters with GetParametersForImport. They are good for 24 hours, and for that key alone.", nil}

	// ErrDenied: Config.Authorize said no; its error is wrapped.
	ErrDenied error = &condition{"kms: the caller is not allowed to do this", "Forbidden.NoPermission",
		"Ask whoever set Config.Authorize.", nil}

	// ErrUnavailable: the key store or the provider could not answer. The error is an
	// *UnavailableError and wraps the cause.
	ErrUnavailable error = &condition{"kms: unavailable", "Rejected.Unavailable",
		"Try again when the key store and the provider can be reached.", nil}

	// ErrCanceled: the context of the call had ended, before the call began or while it waited. The
	// error is an *UnavailableError, and matches the context's error and its cause. It does not match
	// ErrUnavailable: the key store and the provider may be well.
	ErrCanceled error = &condition{"kms: the context of the call has ended", "Canceled",
		"Nothing is known to be wrong. Repeat the call with a context that lasts, if its answer is still wanted.", nil}

	// ErrInstanceExpired: the instance of the key has expired. The error is an *InstanceExpiredError.
	ErrInstanceExpired error = &condition{"kms: the instance has expired", "Rejected.Unavailable",
		"Renew the instance with RenewInstance before it is released, or back it up with BackupInstance if you may need its keys later.", nil}

	// ErrMaterialGone: the record of the key is sound, and the material that it leads to is not there:
	// the object in the hardware was destroyed, or the provider or the source of Config.Legacy
	// does not take the material for its own.
	ErrMaterialGone error = &condition{"kms: the key's material is gone", "InternalFailure.MaterialGone",
		"The key store is intact. If the material was in hardware, bring it back from a copy of the token. " +
			"If the provider was exchanged, open the Manager with the one that made the key. Without the material, what the key encrypted is unreadable.", nil}

	// ErrReadOnly: the key belongs to a service or to another system, and is not changed from
	// here. The error is a *ReadOnlyError.
	ErrReadOnly error = &condition{"kms: the key is read-only", "Rejected.UnsupportedOperation",
		"A key of a service is managed by that service. It costs nothing to leave it as it is.", nil}

	// ErrBrownout: a share of the uses of the key is refused for a while, so that whoever still
	// needs it notices. The error is a *BrownoutError.
	ErrBrownout error = &condition{"kms: refused by a brown-out", "Rejected.Brownout",
		"The owner of the key is finding out who still uses it. Report the use to the owner, then try again.", nil}

	// ErrRetired: the version of the key that encrypted this was retired with RetireKeyVersions.
	// The error is a *RetiredError.
	ErrRetired error = &condition{"kms: the key version was retired", "Rejected.Retired",
		"The version is destroyed, and what it encrypted is unreadable for good.", nil}

	// ErrNoBackup: no backup holds the instance as it is.
	ErrNoBackup error = &condition{"kms: there is no backup of the instance as it is", "Forbidden.NoBackup",
		"Back the instance up with BackupInstance, then try again; or release it by force, and lose its keys for good.", nil}

	// ErrBackup: this is no backup, or not all of one, it is for another root, or the key store
	// cannot take it: what it holds could not have been made, or it is from before a Shred.
	ErrBackup error = &condition{"kms: the backup cannot be read", "InvalidBackup",
		"Give the whole backup, unchanged, and the root that it was made for.", nil}

	// ErrTampered: a record is not as this service wrote it: its MAC, its seal or its sequence number
	// is wrong, or a record is missing that the service never removes. Only its key is stopped.
	ErrTampered error = &condition{"kms: a record was changed behind the service's back", "InternalFailure.Tampered",
		"Keep the store as evidence, find out who can write to it, and bring the record back from a copy that you trust.", nil}

	// ErrRoot: the root does not open the instance key.
	ErrRoot error = &condition{"kms: the root does not open the key store", "InternalFailure.Root",
		"Give the root that this key store was made with, or the new one if its rotation was finished.", nil}
)

// Code returns the code of err, such as "Rejected.Disabled", under which the cloud
// services know it, or "" if err is not of this package. Rejected.DeletionProtected, InUse,
// Brownout and Retired, InstanceAlreadyExists, InvalidCiphertext, InvalidSignature, InvalidBackup, Canceled and
// InternalFailure.* are our own: no service documents one.
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
