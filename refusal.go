package kms

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/provider"
)

// A refusal is what every error of this package holds.
type refusal struct {
	op    Op
	keyID string // "": none, or not known to be one
	inst  string // the instance concerned, where that is all; ""
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

func (e *refusal) place() string { return place(e.op, e.keyID, e.inst) }

// place says where something was refused.
func place(op Op, keyID, instance string) string {
	switch {
	case keyID != "":
		return "kms: " + op.String() + ": key " + keyID + ": "
	case instance != "":
		return "kms: " + op.String() + ": instance " + instance + ": "
	default:
		return "kms: " + op.String() + ": "
	}
}

// condition is the text of the condition, without the package's name.
func (e *refusal) condition() string {
	if e.cond == nil {
		return "refused"
	}
	return e.cond.Error()[len("kms: "):]
}

// Is makes errors.Is find the condition, and the wider one that it is a case of.
func (e *refusal) Is(target error) bool {
	c, ok := e.cond.(*condition)
	return ok && (target == e.cond || c.Is(target))
}

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

func refuseInstance(op Op, id string, cond error, text string, cause error) error {
	return &refusal{op: op, inst: id, cond: cond, text: text, cause: cause}
}

func tamperedInstance(op Op, id string) error {
	return &refusal{op: op, cond: ErrTampered, text: "the record of an instance", said: quoted(id)}
}

func badDate(op Op) error {
	return invalid(op, "the clock or a date is beyond the year 9999: see to Config.Now")
}

func badInstanceID(op Op) error {
	return invalid(op, "the instance's ID is not 1 to %d characters out of a-z 0-9 -", MaxInstanceID)
}

// invalid refuses an argument. The text names it and its rule; bounds in it are those that the check
// has, as arguments of the format.
func invalid(op Op, format string, bounds ...any) error {
	return &refusal{op: op, cond: ErrInvalid, text: fmt.Sprintf(format, bounds...)}
}

// unsupported refuses what the key or the configuration does not offer, and says what would do.
func unsupported(op Op, keyID, text, hint string) error {
	return &refusal{op: op, keyID: keyID, cond: ErrUnsupported, text: text, hint: hint}
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
	if err == nil {
		return false
	}
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

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// UnavailableError says that there was no answer. It matches ErrUnavailable if the key store or the
// provider could not answer, and ErrCanceled if the context of the call had ended; and whatever
// Err matches.
type UnavailableError struct {
	refusal
	KeyID   string // "" where no single key is concerned
	Unknown bool   // the change may have been made all the same: look before repeating it
	Err     error
}

// InstanceExpiredError says that the instance of a key, or the instance itself, has expired. It
// matches ErrInstanceExpired.
type InstanceExpiredError struct {
	refusal
	KeyID      string    // "" if the call is about the instance
	Instance   string    // the ID of the instance
	ExpiredAt  time.Time // when it expired
	ReleasesAt time.Time // until then, exclusive, it can be renewed
}

func unavailable(op Op, keyID, text string, cause error) error {
	return &UnavailableError{refusal: refusal{op: op, keyID: keyID, cond: ErrUnavailable, text: text, hint: unavailableHints[text], cause: cause}, KeyID: keyID, Err: cause}
}

// unavailableHints tell what to do if it is neither the key store nor the provider that did not answer.
var unavailableHints = map[string]string{
	"the ID is taken":             "Repeat the call: the next key gets another ID.",
	"a source of Config.Legacy":   "See to the source of Config.Legacy, or open the Manager without it: its keys are not there then.",
	"writing the backup":          "See to what the backup is written to, then begin a new one: this one is not whole.",
	"reading the backup":          "See to what the backup is read from, then try again.",
	"generating the wrapping key": badGenerator, "encoding the wrapping key": badGenerator, "encrypting": badGenerator,
	"the provider gave a public key that is none":    badProvider,
	"the provider gave a public key of another kind": badProvider,
}

const (
	badGenerator = "The cryptography of this program does not work, or is not allowed to. Look at how it was built and at GODEBUG."
	badProvider  = "The provider in Config.Software or Config.HSM breaks its contract: prove it with package providertest."
)

func unavailableInstance(op Op, id, text, hint string, cause error) error {
	return &UnavailableError{refusal: refusal{op: op, inst: id, cond: ErrUnavailable, text: text, hint: hint, cause: cause}, Err: cause}
}

func outcomeUnknown(op Op, keyID string, cause error) error {
	if u, ok := cause.(*UnavailableError); ok { // what came after the write
		cause = u.Err
	}
	return &UnavailableError{refusal: refusal{op: op, keyID: keyID, cond: ErrUnavailable, text: "the outcome is unknown", cause: cause,
		hint: "Look at the key before you repeat the call: the change may have been made."}, KeyID: keyID, Unknown: true, Err: cause}
}

// notByProvider refuses what the provider of the key cannot do.
func notByProvider(op Op, keyID string, cause error) error {
	return &refusal{op: op, keyID: keyID, cond: ErrUnsupported, text: "the provider", cause: cause,
		hint: "The provider of the key's protection level, Config.Software or Config.HSM, does not offer this. Use a key of a spec that it offers, or of the other protection level."}
}

// fromProvider gives a provider's error the name that callers know.
func fromProvider(op Op, keyID string, err error) error {
	switch {
	case errors.Is(err, provider.ErrCiphertext):
		return refuse(op, keyID, ErrCiphertext)
	case errors.Is(err, provider.ErrSignature):
		return refuse(op, keyID, ErrSignature)
	case errors.Is(err, provider.ErrUnsupported):
		return notByProvider(op, keyID, err)
	case errors.Is(err, provider.ErrNoKey):
		return refuseBecause(op, keyID, ErrMaterialGone, "the provider does not have it", err)
	default:
		return unavailable(op, keyID, "the provider", err)
	}
}

// BlockedError says that more than one thing stands in the way. It matches the condition
// of each of them, and errors.As finds each of their types. Its Code is that of the first,
// its Hint all of theirs.
type BlockedError struct {
	KeyID    string // "" where an instance is to be released
	Instance string // "" where a key is concerned
	Op       Op
	Blockers []error
}

// Error lists all that stands in the way.
func (e *BlockedError) Error() string {
	var b strings.Builder
	b.WriteString(e.heading())
	for i, err := range e.Blockers {
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		if r := refusalOf(err); r != nil {
			b.WriteString(r.brief())
		}
	}
	return b.String()
}

func (e *BlockedError) heading() string {
	return place(e.Op, e.KeyID, e.Instance) + count(len(e.Blockers), "thing") + " in the way"
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
	p.Print(errors.Safe(e.heading()))
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

func blocked(op Op, keyID string, blockers []error) error {
	return (&BlockedError{KeyID: keyID, Op: op, Blockers: blockers}).orOne()
}

func blockedInstance(op Op, id string, blockers []error) error {
	return (&BlockedError{Instance: id, Op: op, Blockers: blockers}).orOne()
}

// orOne is the one thing that stands in the way, where that is all.
func (e *BlockedError) orOne() error {
	switch len(e.Blockers) {
	case 0:
		return nil
	case 1:
		return e.Blockers[0]
	default:
		return e
	}
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
	text := "it expired at " + instant(rec.ExpiresAt) + " and will be released at " + instant(rec.releasesAt())
	e := &InstanceExpiredError{refusal: refusal{op: op, keyID: keyID, cond: ErrInstanceExpired, text: text},
		KeyID: keyID, Instance: rec.ID, ExpiredAt: rec.ExpiresAt, ReleasesAt: rec.releasesAt()}
	if keyID == "" {
		e.inst = rec.ID
	}
	return e
}
