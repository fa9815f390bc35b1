package kms_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestNamesOfNone: a number that is no state and no operation has a name that says so, and no panic.
func TestNamesOfNone(t *testing.T) {
	for _, none := range []struct {
		of   fmt.Stringer
		name string
	}{
		{kms.State(0), "none"}, {kms.State(math.MaxUint8), "none"},
		{kms.InstanceState(0), "none"}, {kms.InstanceState(math.MaxUint8), "none"},
		{kms.Op(math.MaxUint8), "unknown"}, {kms.NumOps, "unknown"},
	} {
		require.Equal(t, none.name, none.of.String())
	}
}

// TestKeyIDSpelling: a key has one spelling. What is as long and is written otherwise names no key.
func TestKeyIDSpelling(t *testing.T) {
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	k.Store.OnGet(func(name string) error { t.Errorf("get %s", name); return nil })
	for _, other := range []string{
		strings.ToUpper(id), strings.ReplaceAll(id, "-", "0"), strings.Replace(id, "-", "_", 1), id[:35] + "g",
		id[:35], id + "0", " " + id[1:], id[:23] + "0" + id[24:], "{" + id[:34] + "}",
	} {
		require.NotEqual(t, id, other)
		require.Equal(t, []string{"ErrInvalid"}, kit.Conditions(kit.Err(k.DescribeKey(t.Context(), other))), other)
	}
}
