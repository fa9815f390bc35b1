package kms_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	crdb "github.com/cockroachdb/errors"
	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestConditionsComplete: the table above misses none that the source has, no two have the
// same text, and each has a code and a hint.
func TestConditionsComplete(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	require.NoError(t, err)
	seen := 0
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && v.Names[0].IsExported() {
			seen++
			require.Contains(t, kit.Sentinels(), v.Names[0].Name)
		}
		return true
	})
	require.Equal(t, len(kit.Sentinels()), seen)
	texts := map[string]bool{}
	for name, cond := range kit.Sentinels() {
		require.True(t, strings.HasPrefix(cond.Error(), "kms: "), name)
		require.False(t, texts[cond.Error()], name)
		texts[cond.Error()] = true
		require.NotEmpty(t, kms.Code(cond), name)
		require.NotEmpty(t, kms.Hint(cond), name)
		require.True(t, slices.ContainsFunc(refusals, func(r refusalCase) bool { return r.cond == cond }), "no refusal shows %s", name)
		for other, err := range kit.Sentinels() {
			isCase := other == "ErrUnsupported" && (name == "ErrUsage" || name == "ErrOrigin")
			require.Equal(t, name == other || isCase, crdb.Is(cond, err), "%s and %s", name, other)
		}
	}
}

// TestErrorsOfBothKinds: the standard library and cockroachdb/errors find the same in
// every error, wrapped or not.
func TestErrorsOfBothKinds(t *testing.T) {
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			err := c.make(t, kmstest.New(t))
			require.Error(t, err)
			for _, err := range []error{err, fmt.Errorf("saving the invoice: %w", err), crdb.Wrap(err, "saving the invoice")} {
				require.ErrorIs(t, err, c.cond)
				require.True(t, crdb.Is(err, c.cond))
				require.Equal(t, c.code, kms.Code(err))
				require.NotEmpty(t, kms.Hint(err))
				require.Contains(t, crdb.FlattenHints(err), kms.Hint(err))
				if c.as != nil {
					require.True(t, c.as(err), "errors.As does not find the type")
				}
				require.Contains(t, crdb.Redact(err), c.cond.Error()[len("kms: "):], "a report would not show it")
			}
		})
	}
	require.Empty(t, kms.Code(errors.New("another")))
	require.Empty(t, kms.Hint(errors.New("another")))
}

// TestErrorZeroValues: what a test of a caller builds by hand does not panic.
func TestErrorZeroValues(t *testing.T) {
	for _, err := range []error{&kms.StateError{}, &kms.PendingDeletionError{}, &kms.ProtectedError{}, &kms.InUseError{}, &kms.UnavailableError{}, &kms.BlockedError{},
		&kms.ReadOnlyError{}, &kms.BrownoutError{}} {
		require.NotEmpty(t, err.Error())
		require.Empty(t, kms.Code(err))
		require.Empty(t, kms.Hint(err))
		require.NotErrorIs(t, err, kms.ErrState)
	}
}
