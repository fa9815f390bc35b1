package kms

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/errors"
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

func (e *refusal) place() string {
	switch {
	case e.keyID != "":
		return "kms: " + e.op.String() + ": key " + e.keyID + ": "
	case e.inst != "":
		return "kms: " + e.op.String() + ": instance " + e.inst + ": "
	default:
		return "kms: " + e.op.String() + ": "
	}
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

func refuseInstance(op Op, id string, cond error, text string, cause error) error {
	return &refusal{op: op, inst: id, cond: cond, text: text, cause: cause}
}

func tamperedInstance(op Op, id string) error {
	return &refusal{op: op, cond: ErrTampered, text: "the record of the instance", said: quoted(id)}
}

func badDate(op Op) error {
	return invalid(op, "a date is beyond the year 9999: look at Config.Now")
}

func badInstanceID(op Op) error {
	return invalid(op, "the instance's ID is not 1 to 64 characters out of a-z 0-9 -")
}

func invalid(op Op, text string) error {
	return &refusal{op: op, cond: ErrInvalid, text: text}
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
