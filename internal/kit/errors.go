package kit

import (
	"errors"
	"maps"
	"slices"

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
		"ErrNoBackup": kms.ErrNoBackup, "ErrBackup": kms.ErrBackup, "ErrRetired": kms.ErrRetired, "ErrUsage": kms.ErrUsage, "ErrOrigin": kms.ErrOrigin,
		"ErrInstanceExpired": kms.ErrInstanceExpired, "ErrCanceled": kms.ErrCanceled, "ErrMaterialGone": kms.ErrMaterialGone,
	}
}

// Conditions names all conditions that an error matches, except a condition that another of them is
// a case of.
func Conditions(err error) []string {
	matched := map[string]error{}
	for name, cond := range Sentinels() {
		if errors.Is(err, cond) {
			matched[name] = cond
		}
	}
	var names []string
	for name, wide := range matched {
		isCase := func(name string) bool { return matched[name] != wide && errors.Is(matched[name], wide) }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(matched)), isCase) {
			names = append(names, name)
		}
	}
	return names
}

// Err returns the error of a call and drops its other result.
func Err[T any](_ T, err error) error { return err }
