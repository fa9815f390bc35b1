package kms

import "time"

// UnavailableError says that the key store or the provider could not answer, or that the
// instance of a key has expired. It matches ErrUnavailable and whatever Err matches.
type UnavailableError struct {
	refusal
	KeyID   string // "" where no single key is concerned
	Unknown bool   // the change may have been made all the same: look before repeating it
	Err     error

	Instance   string    // the instance that has expired; "" where that is not why
	ExpiredAt  time.Time // when
	ReleasesAt time.Time // until then, exclusive, it can be renewed
}

func unavailable(op Op, keyID, text string, cause error) error {
	return &UnavailableError{refusal: refusal{op: op, keyID: keyID, cond: ErrUnavailable, text: text, cause: cause}, KeyID: keyID, Err: cause}
}

func unavailableInstance(op Op, id, text, hint string, cause error) error {
	return &UnavailableError{refusal: refusal{op: op, inst: id, cond: ErrUnavailable, text: text, hint: hint, cause: cause}, Err: cause}
}

func outcomeUnknown(op Op, keyID string, cause error) error {
	return &UnavailableError{refusal: refusal{op: op, keyID: keyID, cond: ErrUnavailable, text: "the outcome is unknown", cause: cause,
		hint: "Look at the key before you repeat the call: the change may have been made."}, KeyID: keyID, Unknown: true, Err: cause}
}
