package keystoretest

import (
	"context"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/keystore"
)

// CaseNames returns the names of all cases.
func CaseNames() []string {
	var names []string
	for _, c := range cases {
		names = append(names, c.name)
	}
	return names
}

// Verdict runs a case and returns how it failed; "" if it did not.
func Verdict(ctx context.Context, name string, open func() keystore.Store, reopen func(keystore.Store) keystore.Store) string {
	for _, c := range cases {
		if c.name != name {
			continue
		}
		r := suite.Record(ctx, func(t suite.TB) {
			c.run(&trial{TB: t, Store: open(), reopen: reopen})
		})
		if r.Failed() {
			return r.Log()
		}
		return ""
	}
	return "there is no such case"
}
