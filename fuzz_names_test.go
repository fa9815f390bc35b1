package kms_test

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/stretchr/testify/require"
)

// The grammars of names, as the documentation says them.
var (
	aliasGrammar = regexp.MustCompile(`\Aalias/[a-zA-Z0-9/_-]{1,249}\z`)
	tagKey       = regexp.MustCompile(`\A[a-zA-Z0-9 /\\_.+=:@-]{1,128}\z`)
	tagValue     = regexp.MustCompile(`\A[a-zA-Z0-9 /\\_.+=:@-]{0,128}\z`)
	keyIDGrammar = regexp.MustCompile(`\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z`)
)

// FuzzAlias: CreateAlias accepts what the grammar does, and nothing else; then the alias
// names the key until it is deleted.
func FuzzAlias(f *testing.F) {
	vectors := loadFrozen(f)
	for _, alias := range []string{
		"alias/a", "alias/", "alias", "", "alias/acs/x", "alias/acs", "alias/acS", "alias/a.b", "alias/A/_-9", "Alias/a", "alias/ä",
		"alias/" + strings.Repeat("x", 249), "alias/" + strings.Repeat("x", 250), "alias/invoices/2026", "alias/free-again", "alias/default", "alias/a\n",
	} {
		f.Add(alias)
	}
	id := enabledKey(f, vectors)
	f.Fuzz(func(t *testing.T, alias string) {
		m, _ := vectors.open(t)
		before, errBefore := m.DescribeKey(t.Context(), alias)
		err := m.CreateAlias(t.Context(), alias, id)
		switch good := aliasGrammar.MatchString(alias) && !strings.HasPrefix(alias, "alias/acs"); {
		case good && errBefore == nil:
			require.ErrorIs(t, err, kms.ErrExists)
			require.NotEmpty(t, before.ID)
		case good:
			require.NoError(t, err)
			key, err := m.DescribeKey(t.Context(), alias)
			require.NoError(t, err)
			require.Equal(t, id, key.ID)
			require.NoError(t, m.DeleteAlias(t.Context(), alias))
			require.ErrorIs(t, kit.Err(m.DescribeKey(t.Context(), alias)), kms.ErrNotFound)
		default:
			require.ErrorIs(t, err, kms.ErrInvalid)
			require.ErrorIs(t, m.UpdateAlias(t.Context(), alias, id), kms.ErrInvalid)
			require.ErrorIs(t, m.DeleteAlias(t.Context(), alias), kms.ErrInvalid)
		}
		noEcho(t, m.CreateAlias(t.Context(), alias+fuzzCanary, id))
		noEcho(t, m.CreateAlias(t.Context(), alias+fuzzCanary, id)) // taken, or still bad
		noEcho(t, m.UpdateAlias(t.Context(), "alias/nobody/"+fuzzCanary, id))
	})
}

// FuzzTags: SetTags accepts what the grammar does, and nothing else; what it accepts is what
// DescribeKey says.
func FuzzTags(f *testing.F) {
	vectors := loadFrozen(f)
	f.Add("team", "billing", "cost centre", "", byte(0))
	f.Add("", "x", "a", "b", byte(18))
	f.Add("acs:x", "", "aliyun", "", byte(19))
	f.Add("ACS:", "", "Aliyun", "", byte(1))
	f.Add(`a-zA-Z0-9 /\_-.+=:@`, `a-zA-Z0-9 /\_-.+=:@`, strings.Repeat("k", 128), strings.Repeat("v", 128), byte(18))
	f.Add(strings.Repeat("k", 129), "", "k", strings.Repeat("v", 129), byte(2))
	f.Add("ä", "", "k", "\xff", byte(2))
	f.Add("key 00", "x", "key 01", "y", byte(20))
	id := enabledKey(f, vectors)
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string, more byte) {
		m, _ := vectors.open(t)
		tags := map[string]string{}
		for i := range int(more) % 24 {
			tags["key "+strconv.Itoa(i)] = "value"
		}
		tags[k1], tags[k2] = v1, v2
		good := len(tags) <= kms.MaxTags
		for key, value := range tags {
			good = good && tagKey.MatchString(key) && tagValue.MatchString(value) &&
				!strings.HasPrefix(key, "acs:") && !strings.HasPrefix(key, "aliyun")
		}
		_, err := m.SetTags(t.Context(), id, tags)
		_, errNew := m.CreateKey(t.Context(), &kms.CreateKeyOptions{Tags: tags})
		if !good {
			require.ErrorIs(t, err, kms.ErrInvalid)
			require.ErrorIs(t, errNew, kms.ErrInvalid)
		} else {
			require.NoError(t, err)
			require.NoError(t, errNew)
			key, err := m.DescribeKey(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, tags, key.Tags)
		}
		for _, bad := range []map[string]string{{k1 + fuzzCanary: "\xff"}, {"k": v1 + fuzzCanary + "\xff"}, {"acs:" + fuzzCanary: v1}} {
			err := kit.Err(m.SetTags(t.Context(), id, bad))
			require.ErrorIs(t, err, kms.ErrInvalid)
			noEcho(t, err)
		}
	})
}

// FuzzKeyRef: any string that names no key is ErrInvalid, or ErrNotFound where it could name
// one; only an ID that could be one is repeated in the error.
func FuzzKeyRef(f *testing.F) {
	vectors := loadFrozen(f)
	m, _ := vectors.open(f)
	for id := range vectors.Keys {
		f.Add(id)
		f.Add(strings.ToUpper(id))
		f.Add(strings.ReplaceAll(id, "-", ""))
	}
	for _, ref := range []string{"", "alias/x", "alias/", "alias/acs/kms", "01890000-0000-7000-8000-000000000000", "key/x", "alias/../key/x", "{01890000-0000-7000-8000-000000000000}"} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		_, err := m.DescribeKey(t.Context(), ref)
		switch {
		case keyIDGrammar.MatchString(ref):
			if state := vectors.Keys[ref]; state != "" && state != kms.Deleted.String() {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, kms.ErrNotFound)
			require.Contains(t, err.Error(), ref)
		case aliasGrammar.MatchString(ref) && vectors.Store[ref] != nil:
			require.True(t, err == nil || errors.Is(err, kms.ErrNotFound))
		case aliasGrammar.MatchString(ref):
			require.ErrorIs(t, err, kms.ErrNotFound)
			require.Equal(t, "Forbidden.AliasNotFound", kms.Code(err))
		default:
			require.ErrorIs(t, err, kms.ErrInvalid)
		}
		_, err = m.DescribeKey(t.Context(), ref+fuzzCanary)
		oneOf(t, err, kms.ErrInvalid, kms.ErrNotFound)
		noEcho(t, err)
		noEcho(t, kit.Err(m.Encrypt(t.Context(), "alias/"+fuzzCanary, nil, nil)))
	})
}

// enabledKey is the ID of an Enabled key of the frozen store.
func enabledKey(t testing.TB, f *frozen) string {
	for _, v := range f.Ciphertexts {
		if info, err := kms.Inspect(v.Ciphertext); err == nil && f.Keys[info.KeyID] == kms.Enabled.String() {
			return info.KeyID
		}
	}
	t.Fatal("no key of the frozen store is enabled")
	return ""
}
