package main

import (
	"net/http"

	"github.com/keyhold/kms"
)

// A problem is what a caller is told when something was refused.
type problem struct {
	Code string `json:"code"`
	Hint string `json:"hint,omitempty"`
}

// statusOf is the HTTP status of each of the codes that these calls can meet. Others are
// faults of this service.
var statusOf = map[string]int{
	"InvalidParameter":         http.StatusBadRequest,          // the text is too long
	"Forbidden.NoPermission":   http.StatusForbidden,           // authorize said so
	"Forbidden.KeyNotFound":    http.StatusGone,                // the key was deleted, and the note with it
	"Rejected.Disabled":        http.StatusConflict,            // until somebody enables the key
	"Rejected.PendingImport":   http.StatusConflict,            //
	"Rejected.PendingDeletion": http.StatusConflict,            // until somebody cancels
	"Rejected.Unavailable":     http.StatusServiceUnavailable,  // try again
	"InvalidCiphertext":        http.StatusInternalServerError, // the database is not what it was
	"InternalFailure.Tampered": http.StatusInternalServerError, // the key store is not what it was

	"Rejected.StateModifiedFailed": http.StatusConflict, // the operator's call does not fit the key's state
}

// problemOf turns a refusal into an answer. Code and hint are made for callers; the text of
// the error, which may name files and hosts, is for the log.
func (s *service) problemOf(err error) (int, problem) {
	p := problem{Code: kms.Code(err), Hint: kms.Hint(err)}
	status, known := statusOf[p.Code]
	if !known {
		status, p = http.StatusInternalServerError, problem{Code: "InternalFailure"}
	}
	if status >= http.StatusInternalServerError {
		s.log.Error("failed", "error", err.Error())
	}
	return status, p
}
