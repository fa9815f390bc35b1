package kms

// ReadOnlyError says that a key is not to be changed by whoever called. It matches
// ErrReadOnly.
type ReadOnlyError struct {
	refusal
	KeyID   string
	Owner   Owner
	Service string // the code of the service whose key it is
}

// What an instance refuses, and what its keys refuse because of it.

func instanceNotFound(op Op, id string) error {
	return &instanceError{refusal{op: op, inst: id, cond: ErrNotFound, text: "no such instance", hint: "Check the ID of the instance. Instances lists them."}}
}

// instanceGone is what an instance that was released answers to every change.
func instanceGone(op Op, id string) error {
	return &instanceError{refusal{op: op, inst: id, cond: ErrNotFound, text: "the instance was released", hint: releasedHint}}
}

// instanceTaken is ErrExists for an ID that another instance has or had.
func instanceTaken(op Op, id string) error {
	return &takenError{refusal{op: op, inst: id, cond: ErrExists, text: "it is the ID of another instance", hint: "Choose another ID. That of an instance which was released is not used again."}}
}

type takenError struct{ refusal }

func (*takenError) code() string { return "InstanceAlreadyExists" }

// instanceError is ErrNotFound with the code for instances.
type instanceError struct{ refusal }

func (*instanceError) code() string { return "Forbidden.DKMSInstanceNotFound" }

const releasedHint = "The instance was released, and its keys are gone with it. If there is a backup of it, bring them back with Restore."

// keyGone is what a key answers that was deleted, or whose instance was released.
func keyGone(op Op, keyID string, released bool) error {
	if released {
		return &refusal{op: op, keyID: keyID, cond: ErrNotFound, text: "its instance was released", hint: releasedHint}
	}
	return refuse(op, keyID, ErrNotFound)
}

// newInstanceExpired is what a key, or with an empty keyID the instance itself, answers while
// it is Expired.
func newInstanceExpired(op Op, keyID string, rec *instanceRecord) error {
	text := "expired at " + instant(rec.ExpiresAt) + " and will be released at " + instant(rec.releasesAt())
	if keyID != "" {
		text = "its instance " + text
	}
	hint := "Renew the instance with RenewInstance before it is released, or back it up with BackupInstance if you may need its keys later."
	e := &UnavailableError{refusal: refusal{op: op, keyID: keyID, cond: ErrUnavailable, text: text, hint: hint},
		KeyID: keyID, Instance: rec.ID, ExpiredAt: rec.ExpiresAt, ReleasesAt: rec.releasesAt()}
	if keyID == "" {
		e.inst = rec.ID
	}
	return e
}

func newProtectedInstance(op Op, rec *instanceRecord) error {
	return &ProtectedError{refusal: refusal{op: op, inst: rec.ID, cond: ErrProtected, said: quoted(rec.ProtectedWhy),
		hint: "Switch the instance's deletion protection off with SetInstanceDeletionProtection, then try again."}, Instance: rec.ID, Why: rec.ProtectedWhy}
}

// readOnlyHints tell what to do where a key is not to be changed.
var readOnlyHints = map[Owner]string{
	OwnerService: "The key belongs to a service of the program and is managed by it. It is free to keep: leave it as it is if it is no longer needed.",
	OwnerLegacy:  "The key belongs to another system: here it decrypts what it encrypted, and is not changed. Bring it over with MigrateLegacyKey.",
}

func newReadOnlyError(op Op, r *record) error {
	text := "it is a key of another system"
	if r.Owner == OwnerService {
		text = "it is the key of the service " + r.Service
	}
	return &ReadOnlyError{refusal: refusal{op: op, keyID: r.id(), cond: ErrReadOnly, text: text, hint: readOnlyHints[r.Owner]},
		KeyID: r.id(), Owner: r.Owner, Service: r.Service}
}
