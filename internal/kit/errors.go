package kit

import (
	"errors"

	"github.com/keyhold/kms"
)

// Sentinels are the conditions that an error of package kms may match, by name.
func Sentinels() map[string]error {
	return map[string]error{
		"ErrNotFound": kms.ErrNotFound, "ErrDisabled": kms.ErrDisabled, "ErrPendingImport": kms.ErrPendingImport,
		"ErrPendingDeletion": kms.ErrPendingDeletion, "ErrState": kms.ErrState, "ErrProtected": kms.ErrProtected,
		"ErrInUse": kms.ErrInUse, "ErrWindow": kms.ErrWindow, "ErrCiphertext": kms.ErrCiphertext,
		"ErrInvalid": kms.ErrInvalid, "ErrExists": kms.ErrExists, "ErrUnsupported": kms.ErrUnsupported,
		"ErrDenied": kms.ErrDenied, "ErrUnavailable": kms.ErrUnavailable, "ErrTampered": kms.ErrTampered, "ErrRoot": kms.ErrRoot,
		"ErrLimit": kms.ErrLimit, "ErrMaterial": kms.ErrMaterial, "ErrImportToken": kms.ErrImportToken,
		"ErrSignature": kms.ErrSignature, "ErrReadOnly": kms.ErrReadOnly, "ErrBrownout": kms.ErrBrownout,
		"ErrNoBackup": kms.ErrNoBackup, "ErrBackup": kms.ErrBackup, "ErrRetired": kms.ErrRetired,
	}
}

// Conditions names all conditions that an error matches.
func Conditions(err error) []string {
	var names []string
	for name, cond := range Sentinels() {
		if errors.Is(err, cond) {
			names = append(names, name)
		}
	}
	return names
}

// Err returns the error of a call and drops its other result.
func Err[T any](_ T, err error) error { return err }
