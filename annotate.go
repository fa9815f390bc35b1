package kms

import (
	"context"
	"maps"
	"strings"
	"unicode/utf8"
)

// SetDescription replaces the description of a key: up to 8192 characters. The description, tags
// and dependents of a key take at most 192 KiB together, as they are stored: in UTF-8, and with six
// bytes for a control character. What would make them longer than that is ErrLimit; what makes
// them shorter is never refused.
//
// By what the key is, it is refused with ErrInstanceExpired, ErrNotFound, ErrPendingDeletion
// and ErrReadOnly.
func (m *Manager) SetDescription(ctx context.Context, ref, description string) (Key, error) {
	bad := checkText(OpSetDescription, description, "description", MaxDescription)
	return m.update(ctx, OpSetDescription, ref, bad, func(_ *call, r *record) error {
		r.Description = description
		return nil
	})
}

// SetTags replaces all tags of a key: up to 20, key and value of up to 128 characters
// out of a-z A-Z 0-9, space and / \ _ - . + = : @. A tag's key is not empty and begins
// neither with "acs:" nor with "aliyun". The bound of SetDescription holds for them too.
//
// By what the key is, it is refused with ErrInstanceExpired, ErrNotFound, ErrPendingDeletion
// and ErrReadOnly.
func (m *Manager) SetTags(ctx context.Context, ref string, tags map[string]string) (Key, error) {
	return m.update(ctx, OpSetTags, ref, checkTags(OpSetTags, tags), func(_ *call, r *record) error {
		r.Tags = maps.Clone(tags)
		return nil
	})
}

func checkText(op Op, s, what string, most int) error {
	switch {
	case len(s) > most*utf8.UTFMax || utf8.RuneCountInString(s) > most:
		return invalid(op, "the %s is longer than %d characters", what, most)
	case !utf8.ValidString(s):
		return invalid(op, "the %s is not UTF-8", what)
	}
	return nil
}

func checkTags(op Op, tags map[string]string) error {
	if len(tags) > MaxTags {
		return invalid(op, "there are more than %d tags", MaxTags)
	}
	for key, value := range tags {
		switch {
		case key == "" || len(key) > MaxTag || len(value) > MaxTag:
			return invalid(op, "a tag's key is not 1 to %d characters, or its value more than %d", MaxTag, MaxTag)
		case !only(key, tagBytes) || !only(value, tagBytes):
			return invalid(op, "a tag has a character that is none of a-z A-Z 0-9, space and / \\ _ - . + = : @")
		case strings.HasPrefix(key, "acs:") || strings.HasPrefix(key, "aliyun"):
			return invalid(op, "a tag's key begins with acs: or aliyun, which are reserved")
		}
	}
	return nil
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
const tagBytes = alphanumeric + ` /\_-.+=:@`

// only tells whether every byte of s is one of allowed.
func only(s, allowed string) bool {
	for i := range len(s) {
		if strings.IndexByte(allowed, s[i]) < 0 {
			return false
		}
	}
	return true
}
