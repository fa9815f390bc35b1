package kms

import (
	"strings"

	"github.com/cockroachdb/errors"
)

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
