package kms

import "strings"

// validAlias tells whether a name could be an alias.
func validAlias(s string) bool {
	name, ok := strings.CutPrefix(s, aliasSegment)
	return ok && name != "" && len(s) <= MaxAlias && only(name, alphanumeric+"/_-")
}

// checkAlias refuses what could be no alias, and what callers may not name.
func (c *call) checkAlias(alias string) error {
	switch {
	case !validAlias(alias):
		return invalid(c.op, "the alias")
	case strings.HasPrefix(alias, reservedAliases):
		return invalid(c.op, "the alias begins with alias/acs, which is reserved for service keys")
	}
	return nil
}

// aliasNotFound is ErrNotFound with the code for aliases.
func aliasNotFound(op Op) error {
	return &aliasError{refusal{op: op, cond: ErrNotFound, text: "no such alias"}}
}

type aliasError struct{ refusal }

func (*aliasError) code() string { return "Forbidden.AliasNotFound" }
